"""Runs in Weights & Biases. The one module that imports wandb."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from harness.errors import EndpointFault, UsageError
from harness.exporters.runs import Run
from harness.names import install

_INSTALL = f"--wandb needs the package wandb: {install('wandb')}"
_TAG_CHARACTERS = 64


def check_installed() -> None:
    """See that wandb is there.

    Raises:
        UsageError: it is not.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # its makers' crash reports
    try:
        import wandb  # noqa: F401, PLC0415 - an optional extra
    except ImportError:
        raise UsageError(_INSTALL) from None


def export(study: str, runs: Sequence[Run], project: str) -> int:
    """Log runs to a project, each in the group `study`; how many. With `WANDB_MODE=offline` they stay in `wandb/`.

    Config and metrics alone are sent, and what wandb says of itself; no path, package or output of this machine.

    Args:
        study: its name.
        runs: what to log; logged again, they are new runs.
        project: `PROJECT` or `ENTITY/PROJECT`.

    Raises:
        UsageError: wandb is missing.
        EndpointFault: it is not logged in, or does not take them.
    """
    check_installed()
    import wandb  # noqa: PLC0415

    entity, _, name = project.rpartition("/")
    settings = wandb.Settings(
        console="off",
        disable_git=True,
        disable_job_creation=True,
        host="",
        program="",
        save_code=False,
        silent=True,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_save_requirements=False,
        x_disable_stats=True,
    )
    try:
        for run in runs:
            made: Any = wandb.init(
                entity=entity or None,
                project=name,
                group=study,
                name=run.name,
                config=dict(run.params),
                tags=[run.params[key][:_TAG_CHARACTERS] for key in ("author", "model", "idea") if key in run.params],
                reinit="create_new",
                settings=settings,
            )
            for step, point in run.points.items():
                made.log(dict(point), step=step)
            made.finish()
    except wandb.errors.Error as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise EndpointFault(
            f"W&B does not take the runs: {line}; log in with `wandb login`, or set WANDB_MODE=offline"
        ) from error
    return len(runs)
