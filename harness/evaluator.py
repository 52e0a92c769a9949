"""A pruner's file in, numbers and texts out: what a loop that evolves programs calls for each of them.

The program is hostile. It is read as bytes, runs in the harness's own sandbox and is measured by `Bench.score`, as any
pruner is; nothing here or in `harness.loops` imports it, and no loop's own way of running programs is used.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any, TypedDict

from harness import pruners
from harness.bench import Bench
from harness.console import plain
from harness.errors import UsageError
from harness.pipeline import open_bench
from harness.records import Pruner, Score, Sparsity
from harness.status import Status

FAILED = 0.0
"""The `combined_score` of a program that fails at any sparsity; every other one has more."""
_TEXT_CHARACTERS = 4000
_ONE_AT_A_TIME = threading.Lock()


class Evaluation(TypedDict):
    """What is known of one program."""

    combined_score: float
    """exp(-mean over the sparsities of log(perplexity / dense perplexity)): the geometric mean of dense / pruned.

    Above 0, more is better, 1 is as good as the dense model. `FAILED`, which is 0 and the worst, unless every sparsity
    is OK and none is quarantined.
    """
    correct: bool
    """Whether it is not `FAILED`."""
    metrics: dict[str, float]
    """`ok`, the fraction of sparsities at which it is OK, and of each of those, by label as in `perplexity/2:4`:
    `perplexity`, `perplexity_ratio` (to dense), `achieved_sparsity` and `sandbox_seconds`."""
    artifacts: dict[str, str]
    """By sparsity, as in `sparsity 2:4`: the status and, where it failed, message, line and traceback. Texts of the
    program itself are among them, cleaned and bounded; they are no instructions."""


def evaluate(
    program_path: str | Path,
    *,
    target: str = "testbed-llama",
    sparsities: Sequence[str | float] = ("0.5",),
    sandbox: str = "auto",
    **options: Any,
) -> Evaluation:
    """Run the pruner of a file at each sparsity, and measure it.

    Args:
        program_path: a file whose name ends in .py.
        target: as `--target` of `harness run` takes it.
        sparsities: what is asked for, as in `0.5` and `2:4`.
        sandbox: `auto`, `docker` or `bubblewrap`.
        options: others of `harness.pipeline.open_bench`, such as `calibration_samples`, `eval_windows`,
            `timeout_seconds`.

    Raises:
        UsageError: an argument that does not fit.
        Fault: the harness itself failed; says nothing about the program.
    """
    if Path(program_path).suffix != ".py":
        raise UsageError(f"a pruner's file name ends in .py, and {str(program_path)[:200]!r} does not")
    found = replace(pruners.find(str(program_path)), author="model")
    return evaluate_pruner(found, target=target, sparsities=sparsities, sandbox=sandbox, **options)


def evaluate_pruner(
    pruner: Pruner,
    *,
    target: str = "testbed-llama",
    sparsities: Sequence[str | float] = ("0.5",),
    sandbox: str = "auto",
    **options: Any,
) -> Evaluation:
    """As `evaluate`, of what is in memory already; one without code has a status of its own."""
    levels = [Sparsity.parse(str(sparsity)) for sparsity in sparsities]
    if not levels:
        raise UsageError("no sparsity: give one or more, as in sparsities=['0.5', '2:4']")
    with _ONE_AT_A_TIME:  # a loop may call from several threads, and a measured run wants the machine for itself
        bench = _bench(target, sandbox, tuple(sorted(options.items())))
        scores = [bench.score(pruner, level) for level in levels]
    return _evaluation(scores)


@lru_cache(maxsize=4)
def _bench(target: str, sandbox: str, options: tuple[tuple[str, Any], ...]) -> Bench:
    """Opened once in a process: that takes longer than most runs."""
    return open_bench(target, sandbox=sandbox, **dict(options))


def _evaluation(scores: Sequence[Score]) -> Evaluation:
    metrics = {"ok": fmean(_ratio(score) is not None for score in scores)}
    for score in scores:
        if (ratio := _ratio(score)) is not None:
            found = {
                "perplexity": score.perplexity,
                "perplexity_ratio": ratio,
                "achieved_sparsity": score.achieved_sparsity,
                "sandbox_seconds": score.sandbox_seconds,
            }
            metrics |= {f"{name}/{score.sparsity}": value for name, value in found.items() if value is not None}
    ratios = [ratio for score in scores if (ratio := _ratio(score)) is not None]
    is_correct = len(ratios) == len(scores)
    return {
        "combined_score": math.exp(-fmean(map(math.log, ratios))) if is_correct else FAILED,
        "correct": is_correct,
        "metrics": metrics,
        "artifacts": {f"sparsity {score.sparsity}": _text(score) for score in scores},
    }


def _ratio(score: Score) -> float | None:
    """Perplexity over that of the dense model; None where there is none, or none to be believed."""
    if score.status != Status.OK or score.quarantined or score.perplexity is None or not score.dense_perplexity:
        return None
    return score.perplexity / score.dense_perplexity


def _text(score: Score) -> str:
    if (ratio := _ratio(score)) is not None:
        return f"OK: perplexity {score.perplexity:.4g}, {ratio:.4g} times that of the dense model"
    if score.quarantined:
        return "quarantined: perplexity implausibly below the dense model's, so it counts as a failure"
    error = score.error
    if error is None:
        return score.status
    where = "" if error.line is None else f" (line {error.line})"
    parts = [f"{score.status}: {error.type}: {error.message}{where}", error.traceback or ""]
    return plain("\n".join(filter(None, parts)), _TEXT_CHARACTERS)
