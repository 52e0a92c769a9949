"""The report's files: complete, reproducible, whole or not at all, and honest about what is missing."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from harness import report
from harness.cli import cli
from harness.errors import StorageFault
from harness.records import Score
from harness.status import Status
from harness.store import Cell, Plan, Store
from harness.testing.fake_bench import FakeLab, fake_score

NAMES = ("causes.csv", "causes.tex", "comparisons.csv", "leaderboard.csv", "leaderboard.md", "perplexity.png")
SCORES = [
    fake_score("wanda", perplexity=21.5),
    fake_score("magnitude", perplexity=22.5),
    fake_score("o1/l1/01", author="model", status=Status.TIMEOUT),
]


def results(folder: Path, scores: list[Score], rank_isolation: str = "docker", unfinished: int = 0) -> Path:
    path = folder / "results.sqlite"
    cells = [Cell(score.target, score.sparsity, score.pruner) for score in scores]
    waiting = [Cell("testbed-llama", "0.5", f"waiting-{index}") for index in range(unfinished)]
    bench = FakeLab().open_bench("testbed-llama")
    with Store(path) as store:
        store.save_plan(Plan("study", "", {}, rank_isolation, (*cells, *waiting)))
        store.add_measurement("testbed-llama", bench.measurement, bench.dense_losses)
        for cell, score in zip(cells, scores, strict=True):
            store.add_score(cell, score)
        store.add_faults(waiting[:1], "INFRA_SANDBOX", "the engine | is <b>gone</b>")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_files_and_the_frame(tmp_path: Path) -> None:
    frame = report.write(results(tmp_path, SCORES))
    assert sorted(file.name for file in (tmp_path / "report").iterdir()) == sorted((*NAMES, "html"))
    assert list(frame["pruner"]) == ["wanda", "magnitude", "o1/l1/01"]
    text = (tmp_path / "report" / "leaderboard.md").read_text()
    assert text.startswith("# study: leaderboard\n")
    for piece in (
        "3 of 3 cells have a result.",
        "![Perplexity against sparsity](perplexity.png)",
        "| human | 2 | 2 | 2 | 2 | 0 | 0 | 100% (34% to 100%) |",
        "| model | 1 | 0 | 1 | 0 | 1 | 0 | 0% (0% to 79%) |",
        "| 1 | wanda | human | OK | 21.50 |",
        "| 2 | magnitude | human | OK | 22.50 |",
        "|  | o1/l1/01 | model | TIMEOUT |  |",
        "protocol-1 on testbed-llama: 12 windows of 128 tokens of bundled",
        "; not pruned: 1.0 k of 9.0 k parameters: embedding (1.0 k)\n",
    ):
        assert piece in text, piece
    assert (tmp_path / "report" / "perplexity.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("shift", "first", "second"), [(0.0, "=1", "=1"), (0.5, "1", "2")])
def test_a_terminal_shows_a_tie_at_the_rank(tmp_path: Path, shift: float, first: str, second: str) -> None:
    losses = {"a": [3.0, 3.4, 2.9, 3.3, 3.1, 3.2], "b": [3.1, 3.3, 3.0, 3.2, 3.2, 3.15]}
    losses["b"] = [loss + shift for loss in losses["b"]]
    common: dict[str, Any] = {"uniform": False, "isolation": "docker"}
    scores = [
        replace(fake_score(name), perplexity=math.exp(sum(values) / 6), window_losses=tuple(values), **common)
        for name, values in losses.items()
    ]
    text = CliRunner().invoke(cli, ["report", str(results(tmp_path, scores)), "--no-pages"]).stdout
    lines = [line.split()[:2] for line in text.splitlines()]
    assert [first, "a"] in lines
    assert [second, "b"] in lines
    assert ("= marks a tie" in text) == (first == "=1")
    assert ["a:", "uneven"] in lines, "other notes stay"
    assert "a: tie" not in text


def test_causes_by_model_and_idea(tmp_path: Path) -> None:
    def failed(sample: str, sparsity: str, status: Status, idea: str = "l1") -> Score:
        name = f"o1/{idea}/{sample}"
        return fake_score(name, sparsity, author="model", model="o_1 <b>", idea=idea, status=status)

    scores = [
        *(failed("01", level, Status.TIMEOUT) for level in ("0.5", "0.6")),
        failed("02", "0.5", Status.TIMEOUT),
        failed("02", "0.6", Status.PATTERN_VIOLATED),
        failed("03", "0.5", Status.OK),
        failed("01", "0.5", Status.NA, "bias"),
        fake_score("by a person", status=Status.TIMEOUT),
    ]
    report.write(results(tmp_path, scores))
    frame = pd.read_csv(tmp_path / "report/causes.csv")
    assert frame.to_numpy().tolist() == [
        ["o_1 <b>", "l1", "time", 2, 3, 3],
        ["o_1 <b>", "l1", "pattern ignored", 1, 3, 1],
    ]
    text = (tmp_path / "report/leaderboard.md").read_text()
    assert "## Why candidates failed\n" in text
    assert "| o_1 &#60;b&#62; | l1 | 3 | time 2, pattern ignored 1 |" in text
    latex = (tmp_path / "report/causes.tex").read_text()
    assert "o\\_1 \\textless{}b\\textgreater{} & l1 & 3 & time 2, pattern ignored 1 \\\\\n" in latex
    assert "\\label{tab:why-candidates-failed-study}" in latex


def test_equal_results_give_equal_bytes_and_a_new_report_replaces_the_old(tmp_path: Path) -> None:
    path = results(tmp_path, SCORES)
    report.write(path, tmp_path / "one")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "leaderboard.md").write_text("old")
    report.write(path, tmp_path / "two")
    one, two = (contents(tmp_path / name) for name in ("one", "two"))
    assert one == two
    assert {*NAMES, "html/index.html", "html/data.js", "html/pruners/wanda.html"} <= one.keys()


def test_faults_and_unfinished_cells_are_told_apart_from_results(tmp_path: Path) -> None:
    report.write(results(tmp_path, SCORES, unfinished=2))
    text = (tmp_path / "report" / "leaderboard.md").read_text()
    assert "3 of 5 cells have a result." in text
    assert "1 cells met a fault of the harness" in text
    assert "| testbed-llama | 0.5 | waiting-0 | INFRA_SANDBOX | 1 | the engine &#124; is &#60;b&#62;gone" in text
    assert "waiting-1" not in text
    assert "| model | 1 | 0 | 1 | 0 | 1 | 0 | 0% (0% to 79%) |" in text


def test_ranking_outside_a_container_is_said(tmp_path: Path) -> None:
    scores = [fake_score("wanda", isolation="bubblewrap")]
    path = results(tmp_path, scores)
    assert report.write(path)["rank"].isna().all()
    assert "bubblewrap have no rank" in (tmp_path / "report" / "leaderboard.md").read_text()
    assert list(report.write(path, rank_isolation="any")["rank"]) == [1]
    assert "Ranked with the isolation bubblewrap, by request" in (tmp_path / "report" / "leaderboard.md").read_text()
    inside = report.read(results(tmp_path / "inside", SCORES, rank_isolation="any"))
    assert len(inside.notices()) == 1


def test_every_name_has_its_row_whatever_it_is(tmp_path: Path) -> None:
    long = "/home/" + "x" * 130
    names = [f"{long}/a.py", f"{long}/b.py", "my  pruner.py", "my pruner.py", " ", "\u2028", "a\nb", "wanda"]
    scores = [fake_score(name, loss=3 + index / 7) for index, name in enumerate(names)]
    frame = report.write(results(tmp_path, scores))
    assert frame["pruner"].nunique() == len(names)
    assert [name[-5:] for name in frame["pruner"][:2]] == ["/a.py", "/b.py"]
    pairs = pd.read_csv(tmp_path / "report/comparisons.csv")
    assert len(pairs[["first", "second"]].drop_duplicates()) == len(names) * (len(names) - 1) // 2
    assert len(list((tmp_path / "report/html/pruners").iterdir())) == len(names)


def test_a_study_without_results_has_a_report(tmp_path: Path) -> None:
    assert report.write(results(tmp_path, [], unfinished=1)).empty
    assert "0 of 1 cells" in (tmp_path / "report" / "leaderboard.md").read_text()


def test_what_cannot_be_read_or_written_is_a_fault_in_one_line(tmp_path: Path) -> None:
    Store(tmp_path / "empty.sqlite").close()
    with pytest.raises(StorageFault, match="holds no study"):
        report.read(tmp_path / "empty.sqlite")
    path = results(tmp_path, SCORES)
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StorageFault, match="cannot be written") as caught:
        report.write(path, tmp_path / "taken")
    assert "\n" not in str(caught.value)


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = results(tmp_path, SCORES)
    report.write(path, tmp_path / "out")
    before = contents(tmp_path / "out")

    def full(self: Path, target: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageFault, match="No space left"):
        report.write(path, tmp_path / "out")
    assert contents(tmp_path / "out") == before
