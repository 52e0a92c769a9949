"""Runs in an MLflow store. The one module that imports mlflow."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Sequence
from typing import Any

from harness.errors import StorageFault, UsageError
from harness.exporters.runs import Run
from harness.names import install

_INSTALL = f"--mlflow needs the package mlflow: {install('mlflow')}"
_DIGEST = "harness.digest"
_BATCH = 100
"""Fewer than MLflow takes at once, of parameters and of metrics."""


def check_installed() -> None:
    """See that mlflow is there.

    Raises:
        UsageError: it is not.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would report to its makers
    try:
        import mlflow  # noqa: F401, PLC0415 - an optional extra
    except ImportError:
        raise UsageError(_INSTALL) from None


def export(study: str, runs: Sequence[Run], uri: str) -> int:
    """File runs under the experiment `study` of the store at `uri`; how many were new.

    A run that is there already, with the same content, is left alone.

    Raises:
        UsageError: mlflow is missing.
        StorageFault: the store does not take them; what was filed before stays.
    """
    check_installed()
    from mlflow import MlflowClient  # noqa: PLC0415
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    try:
        client: Any = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(study)
        experiment = found.experiment_id if found else client.create_experiment(study)
        return sum(_export(client, experiment, run) for run in runs)
    except MlflowException as error:
        line = re.sub(r"//[^/@\s]*@", "//", str(error).strip().splitlines()[0])[:300]  # an address may hold a password
        raise StorageFault(f"MLflow does not take the runs: {line}; check the address and try again") from error


def _export(client: Any, experiment: str, run: Run) -> bool:
    from mlflow.entities import Metric, Param  # noqa: PLC0415

    if client.search_runs([experiment], f"tags.`{_DIGEST}` = '{run.digest}'", max_results=1):
        return False
    made = client.create_run(experiment, run_name=run.name).info.run_id
    now = int(1000 * time.time())
    params = [Param(name, value) for name, value in run.params.items()]
    metrics = [Metric(key, value, now, step) for step, point in run.points.items() for key, value in point.items()]
    for start in range(0, max(len(params), len(metrics)), _BATCH):
        batch = slice(start, start + _BATCH)
        client.log_batch(made, metrics=metrics[batch], params=params[batch])
    client.set_tag(made, _DIGEST, run.digest)  # last: a run that was cut off is filed again
    client.set_terminated(made)
    return True
