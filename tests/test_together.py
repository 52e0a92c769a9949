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
from harness.store import Cell, Plan, Store
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
    frame = publish(together([results("a", fake_score()), results("b", fake_score("wanda"))]), tmp_path)
    assert set(frame["pruner"]) == {"magnitude", "wanda"}
    assert (tmp_path / "html/index.html").is_file()
