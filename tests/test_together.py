"""Several studies in one report: shared pruners once, others apart, and never across protocols."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.errors import UsageError
from harness.records import Score, Zeros
from harness.report import Results, publish, together
from harness.store import Cell, CellFault, Plan, Store
from harness.testing.fake_bench import FakeLab, fake_score


def results(name: str, *scores: Score, digest: str = "same", **changes: Any) -> Results:
    measurement = replace(FakeLab().open_bench("testbed-llama").measurement, **changes)
    digests = {score.pruner: digest for score in scores}
    return Results(name, len(scores), scores, [], {"testbed-llama": measurement}, "docker", digests=digests)


def names(given: Results) -> list[str]:
    return [score.pruner for score in given.scores]


def test_a_pruner_of_both_stands_there_once_and_new_levels_are_added() -> None:
    both = together(
        [
            results("spring", fake_score("wanda"), fake_score("o1/x/01", author="model")),
            results("autumn", fake_score("wanda"), fake_score("wanda", "0.6"), fake_score("o4/x/01", author="model")),
        ]
    )
    assert both.name == "spring and autumn"
    assert [(s.pruner, s.sparsity) for s in both.scores] == [
        *(("wanda", "0.5"), ("o1/x/01", "0.5"), ("o4/x/01", "0.5")),
        ("wanda", "0.6"),
    ]
    assert both.planned == 4
    assert len(both.cells) == 4


@pytest.mark.parametrize(
    "other",
    [
        results("autumn", fake_score("mine.py"), digest="other"),
        results("autumn", fake_score("mine.py", perplexity=77.0)),
        results("autumn", fake_score("mine.py", isolation="bubblewrap")),
    ],
)
def test_other_code_or_another_result_stands_apart(other: Results) -> None:
    zeros = {("testbed-llama", "0.5", "mine.py"): Zeros((0.5,), b"\x01", "abc")}
    both = together([results("spring", fake_score("mine.py")), replace(other, zeros=zeros)])
    assert names(both) == ["mine.py", "mine.py (autumn)"]
    assert list(both.zeros) == [("testbed-llama", "0.5", "mine.py (autumn)")]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"windows": 24, "id": "p2"}, "windows (12 and 24)"),
        ({"calibration_samples": 4, "id": "p2"}, "calibration_samples (16 and 4)"),
        ({"weights_sha256": "other"}, "weights ("),
    ],
)
def test_protocols_are_never_mixed_and_what_differs_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match="never ranked together") as caught:
        together([results("a", fake_score()), results("b", fake_score(), **changes)])
    assert named in str(caught.value)
    assert "dtype" not in str(caught.value)


def test_other_targets_may_have_other_protocols() -> None:
    other = results("b", fake_score(target="testbed-opt"), windows=99, id="p2")
    other = replace(other, measurements={"testbed-opt": other.measurements["testbed-llama"]})
    assert together([results("a", fake_score()), other]).targets == ["testbed-llama", "testbed-opt"]


def test_equal_runs_meet_wherever_they_stand_and_names_never_collide() -> None:
    given = [
        results("a", fake_score("mine.py"), digest="one"),
        results("b", fake_score("mine.py"), fake_score("mine.py (c)"), digest="two"),
        results("c", fake_score("mine.py"), digest="two"),
        results("d", fake_score("mine.py"), digest="three"),
    ]
    assert names(together(given)) == ["mine.py", "mine.py (b)", "mine.py (c)", "mine.py (d)"]


def test_another_seed_at_another_level_is_no_part_of_the_curve() -> None:
    given = [results("a", fake_score("random")), results("b", fake_score("random", "0.6", seed=7))]
    assert names(together(given)) == ["random", "random (b)"]


def test_texts_of_another_prompt_are_not_quoted_under_this_one() -> None:
    first = replace(results("a", fake_score("wanda", text=" a place")), prompt="University is")
    second = replace(results("b", fake_score("bias", text=" a night")), prompt="It was")
    both = together([first, second])
    assert both.prompt == "University is"
    assert {score.pruner: score.text for score in both.scores} == {"wanda": " a place", "bias": None}


def test_what_one_study_finished_is_no_fault_of_the_other() -> None:
    cell = ("testbed-llama", "0.5", "wanda")
    fault = CellFault(*cell, "INFRA_SANDBOX", "gone", 1)
    done = replace(results("a", fake_score("wanda")), cells=[cell])
    failed = replace(results("b"), cells=[cell], faults=[fault], digests={"wanda": "same"})
    both = together([done, failed])
    assert (both.planned, len(both.scores), both.faults, both.unfinished()) == (1, 1, [], set())


def test_a_study_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="given twice"):
        together([results("a", fake_score()), results("a", fake_score())])


def test_the_command_takes_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, pruner in (("spring", "magnitude"), ("autumn", "wanda")):
        bench = FakeLab().open_bench("testbed-llama")
        with Store(Path("results", name, "results.sqlite")) as store:
            store.save_plan(Plan(name, "", {}, "docker", (Cell("testbed-llama", "0.5", pruner),)))
            store.add_measurement("testbed-llama", bench.measurement, bench.dense_losses)
            store.add_score(Cell("testbed-llama", "0.5", pruner), fake_score(pruner))
    done = CliRunner().invoke(cli, ["report", "spring", "autumn"], catch_exceptions=False)
    assert done.exit_code == 0
    text = Path("spring-and-autumn-report/leaderboard.md").read_text()
    assert "magnitude" in text
    assert "wanda" in text
    with pytest.raises(UsageError, match="follows one study"):
        CliRunner().invoke(cli, ["report", "spring", "autumn", "--serve"], catch_exceptions=False)


def test_a_report_of_several_is_written(tmp_path: Path) -> None:
    found = publish(together([results("a", fake_score()), results("b", fake_score("wanda"))]), tmp_path)
    assert set(found.frame["pruner"]) == {"magnitude", "wanda"}
    assert (tmp_path / "html/index.html").is_file()
