"""The draft's tables and figures out of a study: ours beside the printed numbers, and nobody's text is a command."""

import csv
import io
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.text import Text

from harness.records import Failure, Score
from harness.report import Results
from harness.report.paper import draft, figures
from harness.report.paper.files import write
from harness.report.paper.table import Table, as_csv, as_latex, as_markdown, latex, latex_line
from harness.report.paper.tables import tables
from harness.status import Status
from harness.testing.fake_bench import FakeLab, fake_score

HOSTILE = r"\input{/etc/passwd} $x_1$ & 50% #1 ~ ^ {<b>|`-- é 漢 \end{document} =1+1"


def results(*scores: Score, prompt: str | None = None, dense_text: str | None = None) -> Results:
    lab = FakeLab()
    measurements = {}
    for target in {score.target for score in scores}:
        measurements[target] = replace(lab.open_bench(target).measurement, dense_text=dense_text)
    return Results("study", len(scores), scores, [], measurements, "docker", prompt)


def candidate(idea: str, sparsity: str, status: Status = Status.OK, sample: str = "01", model: str = "o1") -> Score:
    name = f"{model}/{idea}/{sample}"
    return fake_score(name, sparsity, status=status, author="model", idea=idea, model=model, perplexity=77.5)


def table(number: int, given: Results, target: str = "testbed-llama") -> Table:
    return next(one for one in tables(given) if (one.number, one.target) == (number, target))


def column(of: Table, heading: str, sub: str = "") -> dict[object, object]:
    place = next(i for i, one in enumerate(of.columns) if (one.heading, one.sub) == (heading, sub))
    return {row[0]: row[place] for row in of.rows}


def test_the_draft_is_read_as_it_is_printed() -> None:
    assert draft.curve(1, "SparseGPT")[0.7] == 27.214
    assert draft.curve(1, "Wanda")[0.01] == "NA"
    assert draft.curve(5, "aigc algorithm 4") == {}
    assert [len(draft.rows(number)) for number in range(1, 7)] == [13, 13, 13, 10, 7, 8]
    assert draft.is_of(draft.LLAMA, "huggyllama/llama-7b")
    assert draft.is_of(draft.OPT, "facebook/opt-1.3b")
    assert not draft.is_of(draft.LLAMA, "testbed-llama")
    assert not draft.is_of(draft.OPT, "facebook/opt-13b")


def test_table_1_has_ours_beside_the_draft_s_level_by_level() -> None:
    given = results(
        fake_score("wanda", "0.5", perplexity=31.25),
        fake_score("wanda", "0.55", perplexity=33.5),
        fake_score("wanda", "2:4", perplexity=99.0),
        fake_score("magnitude", "0.5", status=Status.TIMEOUT),
    )
    one = table(1, given)
    ours, theirs = column(one, "Wanda", "here"), column(one, "Wanda", "draft")
    assert ours["0.50"] == pytest.approx(31.25)
    assert theirs["0.50"] == 7.257
    assert (theirs["0.01"], theirs["0.55"], ours["0.01"]) == ("NA", None, None)
    assert 99.0 not in ours.values()
    assert column(one, "Magnitude", "here")["0.50"] == "TIMEOUT"
    assert [row[0] for row in one.rows] == sorted(str(row[0]) for row in one.rows)
    assert "Not in the study: sparsegpt, movement." in one.notes
    assert "compare the shapes and not the values" in one.notes[0]
    assert len([one for one in tables(given) if one.number == 1]) == 1


def test_a_quarantined_perplexity_is_no_number() -> None:
    one = table(1, results(fake_score("wanda", "0.5", perplexity=3.0, quarantined=True)))
    assert column(one, "Wanda", "here")["0.50"] == "quarantined"


def test_table_3_reads_na_and_says_why() -> None:
    error = Failure("run", "NA", "the model has no biases")
    given = results(*(fake_score("bias", level, status=Status.NA, error=error) for level in ("0.1", "0.5")))
    one = table(3, given)
    assert column(one, "Prune by Bias", "here")["0.10"] == "NA"
    assert any("NA, the model has no biases" in note for note in one.notes)


def test_table_4_counts_levels_and_samples() -> None:
    given = results(
        candidate("l1-norm-pruning", "0.5"),
        candidate("l1-norm-pruning", "0.6"),
        candidate("random-pruning", "0.5"),
        candidate("random-pruning", "0.6", Status.TIMEOUT),
        candidate("structured-pruning", "0.5", Status.NO_CODE),
        candidate("gradient-based-pruning", "0.5", sample="01"),
        candidate("gradient-based-pruning", "0.5", Status.CRASHED, sample="02"),
        candidate("gradient-based-pruning", "0.5", Status.CRASHED, sample="03"),
        candidate("k-means-clustering-pruning", "0.5", Status.NA),
        candidate("my-own", "0.5", model="other"),
    )
    one = table(4, given)
    found = {row[1]: row[2] for row in one.rows}
    assert found["L1 Norm Pruning"] == "OK"
    assert found["Random Pruning"] == "OK at 1 of 2 levels (TIMEOUT)"
    assert found["Structured Pruning"] == "Error (NO_CODE)"
    assert found["Gradient based Pruning"] == "OK in 1 of 3 (CRASHED)"
    assert found["K-means Clustering Pruning"] == "NA"
    assert found["Variational Dropout Pruning"] is None
    assert {row[1]: row[4] for row in one.rows}["Random Pruning"] == "OK"
    assert one.rows[-1] == ("", "my-own", None, "OK", None, None)
    assert len(one.rows) == 11


def test_table_5_shows_the_first_sample_and_names_who_failed() -> None:
    given = results(
        candidate("l1-norm-pruning", "0.5", sample="01"),
        fake_score("o1/l1-norm-pruning/02", "0.5", author="model", idea="l1-norm-pruning", model="o1", perplexity=1.5),
        candidate("random-pruning", "0.5", Status.SYNTAX_ERROR),
    )
    one = table(5, given)
    assert column(one, "aigc algorithm 2", "here")["0.50"] == pytest.approx(77.5)
    assert column(one, "aigc algorithm 2", "draft")["0.50"] == 193740.406
    assert any("aigc algorithm 5 (SYNTAX_ERROR)" in note for note in one.notes)


def test_table_6_shows_the_texts_with_their_prompt() -> None:
    given = results(
        fake_score("wanda", "0.5", text=" a place\nof"), prompt="University is", dense_text=" a place of dense thought"
    )
    one = table(6, given)
    assert column(one, "University is …", "here")["0.50"] == "University is a place of"
    assert str(column(one, "University is …", "draft")["0.90"]) == "University is."
    assert column(one, "University is …", "here")["0.00"] == "University is a place of dense thought"
    assert column(one, "Perplexity", "here")["0.00"] == 20.0
    assert any("Pruned by wanda" in note for note in one.notes)


def test_csv_holds_full_precision_and_no_formula() -> None:
    given = results(fake_score("wanda", "0.5", perplexity=1 / 3 + 30), candidate("=HYPERLINK(1)", "0.5"))
    rows = list(csv.DictReader(io.StringIO(as_csv([table(1, given)]))))
    assert float(rows[6]["Wanda (here)"]) == pytest.approx(1 / 3 + 30, rel=1e-12)
    assert "\n'=HYPERLINK" in as_csv([table(4, given)]).replace(",'=HYPERLINK", "\n'=HYPERLINK")


def test_latex_shows_text_and_runs_nothing() -> None:
    assert latex("a_b & c%") == r"a\_b \& c\%"
    assert latex("--x") == r"-{}-x"
    shown = latex(HOSTILE)
    assert r"\textbackslash{}input\{" in shown
    assert "漢" not in shown


def test_markdown_shows_text_and_runs_nothing() -> None:
    text = as_markdown(table(4, results(candidate("<script>alert(1)</script>|x", "0.5"))))
    assert "<script>" not in text
    assert "&#60;script&#62;" in text


def test_a_wide_table_is_set_smaller_or_stands_in_parts_of_a_page() -> None:
    ideas = ["l1-norm-pruning", "structured-pruning", "random-pattern-pruning", "random-pruning"]
    ideas += ["gradient-based-pruning", "variational-dropout-pruning", "k-means-clustering-pruning"]
    found = [as_latex(table(5, results(*(candidate(idea, "0.5") for idea in ideas[:count])))) for count in (2, 6, 7)]
    assert ["{\\small\n" in text for text in found] == [True, False, True]
    assert ["\\resizebox" in text for text in found] == [False, True, False]
    assert [text.count("\\begin{tabular}") for text in found] == [1, 1, 2]
    assert [text.count("Pruned level") for text in found] == [1, 1, 2]


@pytest.mark.parametrize("first", ["[x]", "*", "[", "a"])
def test_no_cell_is_an_option_of_the_rule_above_it(first: str) -> None:
    line = latex_line([first, "b"])
    assert line == ("" if first == "a" else "{}") + f"{first} & b \\\\\n"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_whole_typesets_whatever_the_names(tmp_path: Path) -> None:
    given = results(
        *(fake_score(name, level) for name in ("wanda", "magnitude") for level in ("0.5", "0.6")),
        candidate(HOSTILE, "0.5"),
        candidate("l1-norm-pruning", "0.5", model=HOSTILE),
        fake_score("sparsegpt", "0.5", text=HOSTILE),
    )
    write(given, tmp_path)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:].decode(errors="replace")
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000


def test_the_figures_draw_both_sides(tmp_path: Path) -> None:
    given = results(
        *(fake_score("wanda", level) for level in ("0.5", "0.6", "0.9")),
        *(fake_score("negative_magnitude", level) for level in ("0.5", "0.6")),
        *(candidate("l1-norm-pruning", level) for level in ("0.5", "0.6")),
    )
    shown = {}
    for number in figures.CAPTIONS:
        figure = figures.draw(number, given)
        figure.draw_without_rendering()
        assert [axis.get_yscale() for axis in figure.axes] == ["log", "log"]
        shown[number] = {text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)}
    assert {"Wanda", "SparseGPT", "dense model"} <= shown[1]
    assert {"Prune by Weights", "Prune by -Weights"} <= shown[2]
    assert {"2 L1 Norm Pruning", "6 Random Pattern Pruning", "written by a model"} <= shown[3]


def test_equal_results_give_equal_bytes(tmp_path: Path) -> None:
    given = results(*(fake_score("wanda", level) for level in ("0.5", "0.6")), candidate("l1-norm-pruning", "0.5"))
    first, second = write(given, tmp_path / "a"), write(given, tmp_path / "b")
    assert [file.name for file in first][:2] == ["README.md", "paper.tex"]
    assert len(first) == 2 + 6 * 3 + 3 * 2
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


@pytest.mark.parametrize("scores", [[fake_score("wanda")], [fake_score("wanda", "2:4")], [candidate("x", "0.5")]])
def test_a_study_without_people_models_or_ratios_has_its_tables(scores: list[Score], tmp_path: Path) -> None:
    failed = [replace(score, status="TIMEOUT", perplexity=None) for score in scores]
    for given in (results(*scores), results(*failed)):
        assert (tmp_path / "table6.tex") in write(given, tmp_path)


def test_levels_are_not_rounded_together() -> None:
    one = table(1, results(*(fake_score("wanda", level) for level in ("0.555", "0.556", "0.999"))))
    assert {"0.555", "0.556", "0.999", "0.10"} <= {row[0] for row in one.rows}


def test_headings_that_are_equal_when_cut_are_kept_apart(tmp_path: Path) -> None:
    long = "m" * 70
    given = results(
        *(candidate("random-pruning", "0.5", model=f"{long}{end}") for end in "ab"),
        replace(candidate("random-pruning", "0.5", model="o1, draft"), target="testbed-opt"),
    )
    write(given, tmp_path)
    heading = next(csv.reader((tmp_path / "table4.csv").read_text().splitlines()))
    assert len(set(heading)) == len(heading)


def test_what_is_not_finished_or_not_believed_is_not_ok() -> None:
    one, two = candidate("l1-norm-pruning", "0.5"), candidate("random-pruning", "0.5")
    given = results(one, replace(two, quarantined=True))
    given = replace(given, cells=[("testbed-llama", level, one.pruner) for level in ("0.5", "0.6")])
    found = {row[1]: row[2] for row in table(4, given).rows}
    assert found["L1 Norm Pruning"] == "not finished (1 of 1 samples)"
    assert found["Random Pruning"] == "Error (quarantined)"


def test_an_empty_study_has_its_figures_and_no_table(tmp_path: Path) -> None:
    assert write(results(), tmp_path)
    assert (tmp_path / "README.md").read_text().startswith("# study")
