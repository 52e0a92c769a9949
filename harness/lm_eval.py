"""lm-evaluation-harness on a model folder: zero-shot tasks and the like. The one module that imports lm_eval."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import InputFault, UsageError
from harness.names import install
from harness.pruned_model import pruned_model
from harness.targets import Target

_INSTALL = f"tasks need the package lm-eval: {install('lm-eval')}"


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One metric of one task, as lm-eval names it; `stderr` None where it gives none."""

    task: str
    version: str
    metric: str
    filter: str
    value: float
    stderr: float | None
    samples: int


def check_installed() -> None:
    """See that lm-eval is there.

    Raises:
        UsageError: it is not.
    """
    try:
        import lm_eval  # noqa: F401, PLC0415 - an optional extra
    except ImportError:
        raise UsageError(_INSTALL) from None


def evaluate(target: Target, tasks: Sequence[str], limit: int | None, include: Path | None) -> list[TaskResult]:
    """Run tasks of lm-eval on a model in float32, one request at a time, with no few-shot examples but the task's own.

    Args:
        target: an exported folder, or any target.
        tasks: names or groups, as lm-eval knows them.
        limit: of the samples of each task; None for all.
        include: a folder of further task files (YAML). They may name code to run: give only your own.

    Raises:
        UsageError: lm-eval is missing, a task is unknown, or the target has no tokenizer.
        InputFault: a task's data cannot be read.
    """
    check_installed()
    if target.tokenizer_folder is None:
        raise UsageError(f"{target.name} has no tokenizer: tasks need one")
    from lm_eval import simple_evaluate  # noqa: PLC0415
    from lm_eval.models.huggingface import HFLM  # noqa: PLC0415
    from lm_eval.tasks import TaskManager  # noqa: PLC0415

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    manager = TaskManager(include_path=str(include) if include else None)
    if unknown := [name for name in tasks if not manager.match_tasks([name])]:
        where = f" with {include}" if include else "; --include-path adds a folder of task files"
        raise UsageError(f"lm-eval has no task {unknown[0]!r}{where}")
    model: Any = HFLM(
        pretrained=pruned_model(target.checkpoint),
        tokenizer=str(target.tokenizer_folder),
        batch_size=1,
        max_length=target.seqlen,
    )
    try:
        results = simple_evaluate(
            model=model, tasks=list(tasks), limit=limit, task_manager=manager, bootstrap_iters=1000
        )
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise InputFault(f"lm-eval could not run {', '.join(tasks)}: {first[0]}") from error
    return list(_rows(results))


def _rows(results: Any) -> list[TaskResult]:
    rows = []
    for task, metrics in results["results"].items():
        for key, value in metrics.items():
            metric, _, filtered = key.partition(",")
            if not filtered or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            stderr = metrics.get(f"{metric}_stderr,{filtered}")
            rows.append(
                TaskResult(
                    task=task,
                    version=str(results["versions"].get(task, "")),
                    metric=metric,
                    filter=filtered,
                    value=float(value),
                    stderr=float(stderr) if isinstance(stderr, int | float) else None,
                    samples=int(results.get("n-samples", {}).get(task, {}).get("effective", 0)),
                )
            )
    return rows
