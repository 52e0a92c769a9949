"""OpenEvolve: the function of its evaluation file. The one module that imports openevolve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness import evaluator
from harness.errors import UsageError
from harness.names import install

if TYPE_CHECKING:
    from openevolve.evaluation_result import EvaluationResult

_INSTALL = f"this needs the package openevolve: {install('openevolve')}"


def evaluate(program_path: str, **options: Any) -> EvaluationResult:
    """The metrics and artifacts of a program, with `combined_score` among the metrics.

    `options` are those of `harness.evaluator.evaluate`. A fault of the harness is raised; OpenEvolve logs it, tries
    again as often as its `max_retries` says, and then counts the program as one that cannot be evaluated.

    Raises:
        UsageError, Fault: as `harness.evaluator.evaluate`; or openevolve is missing.
    """
    try:
        from openevolve.evaluation_result import EvaluationResult  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise UsageError(_INSTALL) from None
    found = evaluator.evaluate(program_path, **options)
    metrics = {"combined_score": found["combined_score"], **found["metrics"]}
    return EvaluationResult(metrics=metrics, artifacts=dict(found["artifacts"]))
