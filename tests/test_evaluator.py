"""A file in, numbers and texts out: for honest, failing and hostile programs, in the real sandbox."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import evaluator
from harness.errors import SandboxFault, UsageError
from harness.evaluator import FAILED, evaluate
from harness.pipeline import open_bench
from harness.pruners import find
from harness.records import Score, Sparsity
from harness.resources import resource
from harness.status import Status
from harness.testing.fake_bench import fake_score

OPTIONS: dict[str, Any] = {
    "sandbox": "bubblewrap",
    "calibration_samples": 2,
    "eval_windows": 2,
    "seqlen": 64,
    "timeout_seconds": 60.0,
}
MAGNITUDE = resource("reference_pruners") / "magnitude.py"
HOSTILE = """
import pathlib

try:
    pathlib.Path({!r}).touch()
except OSError:
    pass


def prune(task):
    raise ValueError("bad \\x1b[31m" + "x" * 9999)
"""


def scores(*values: Score) -> evaluator.Evaluation:
    return evaluator._evaluation(values)


def test_a_pruner_has_the_numbers_of_the_bench() -> None:
    found = evaluate(MAGNITUDE, sparsities=["0.5", "2:4"], **OPTIONS)
    bench = open_bench("testbed-llama", **OPTIONS)
    expected = [bench.score(find("magnitude"), Sparsity.parse(label)) for label in ("0.5", "2:4")]
    ratios = [(score.perplexity or math.nan) / (score.dense_perplexity or math.nan) for score in expected]
    assert found["correct"]
    assert found["combined_score"] == pytest.approx(1 / math.sqrt(ratios[0] * ratios[1]), rel=1e-12)
    assert 0 < found["combined_score"] < 1
    assert found["metrics"]["ok"] == 1
    for score, ratio in zip(expected, ratios, strict=True):
        assert found["metrics"][f"perplexity/{score.sparsity}"] == score.perplexity
        assert found["metrics"][f"perplexity_ratio/{score.sparsity}"] == ratio
        assert found["metrics"][f"achieved_sparsity/{score.sparsity}"] == score.achieved_sparsity
    assert set(found["artifacts"]) == {"sparsity 0.5", "sparsity 2:4"}
    assert all(text.startswith("OK: perplexity ") for text in found["artifacts"].values())
    assert all(isinstance(value, float) for value in found["metrics"].values())


def test_a_program_is_never_imported_and_its_words_are_cleaned(tmp_path: Path) -> None:
    mark, program = tmp_path / "mark", tmp_path / "hostile.py"
    program.write_text(HOSTILE.format(str(mark)))
    found = evaluate(program, **OPTIONS)
    assert not mark.exists()
    assert "hostile" not in sys.modules
    assert (found["combined_score"], found["correct"], found["metrics"]) == (FAILED, False, {"ok": 0.0})
    text = found["artifacts"]["sparsity 0.5"]
    assert text.startswith("RUNTIME_ERROR: ValueError: bad ")
    assert "\x1b" not in text
    assert len(text) < 4100


def test_one_failure_is_a_failure_and_what_went_well_is_still_told() -> None:
    found = scores(fake_score("a", perplexity=30.0), fake_score("a", "2:4", status=Status.PATTERN_VIOLATED))
    assert (found["combined_score"], found["correct"]) == (FAILED, False)
    assert found["metrics"]["ok"] == 0.5
    assert found["metrics"]["perplexity_ratio/0.5"] == pytest.approx(1.5)
    assert found["artifacts"]["sparsity 2:4"].startswith("PATTERN_VIOLATED: ")
    assert "(line 3)" in found["artifacts"]["sparsity 2:4"]


def test_less_perplexity_is_always_more_and_a_failure_is_least() -> None:
    perplexities = [19.5, 20.0, 21.0, 400.0, 1e9, 1e300]
    found = [scores(fake_score("a", perplexity=value))["combined_score"] for value in perplexities]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == len(found)
    assert found[1] == pytest.approx(1)
    assert found[-1] > FAILED


@pytest.mark.parametrize(
    "score", [fake_score("a", perplexity=5.0, quarantined=True), fake_score("a", status=Status.NA)]
)
def test_what_is_not_to_be_believed_or_does_not_apply_is_no_success(score: Score) -> None:
    found = scores(score)
    assert (found["combined_score"], found["correct"], found["metrics"]) == (FAILED, False, {"ok": 0.0})


@pytest.mark.parametrize("path", ["none.py", "a.txt", "magnitude"])
def test_what_is_no_file_of_a_pruner_is_wrong_usage(path: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        evaluate(tmp_path / path, **OPTIONS)
    with pytest.raises(UsageError, match="no sparsity"):
        evaluate(MAGNITUDE, sparsities=[], **OPTIONS)


def test_a_fault_of_the_harness_is_raised_and_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object, **__: object) -> None:
        raise SandboxFault("no engine answers")

    monkeypatch.setattr(evaluator, "open_bench", down)
    with pytest.raises(SandboxFault):
        evaluate(MAGNITUDE, eval_windows=3)
