"""Who runs the cells of a study: this process, many processes, a Ray cluster, or jobs of Slurm.

A worker opens a target, scores cells and tells what came out; only the driving process files results.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harness.errors import UsageError
from harness.executors.tasks import Result, Setup, Task
from harness.store import Cell

NAMES = ("local", "processes", "ray", "submitit")


class Executor(Protocol):
    """One way of running tasks. The results are the same bits, whichever it is, where processors and threads are."""

    def run(
        self, setup: Setup, tasks: Sequence[Task], is_done: Callable[[Cell], bool]
    ) -> Generator[Result, None, None]:
        """Do the tasks, and give each result as soon as it is there; to be closed when the run ends early.

        Args:
            setup: what they share.
            tasks: one a target, in order.
            is_done: asked before a cell is begun, or given away; it is left out where this says so.

        Raises:
            UsageError: the study or an option does not fit.
            Fault: workers cannot be had at all. Any other fault is a result.
        """
        ...


@dataclass(frozen=True, slots=True)
class Options:
    """What a person says about workers; None is the executor's own choice."""

    folder: Path
    """Of the study's results."""
    workers: int | None = None
    threads: int | None = None
    """Processors, and threads of a run, for each worker."""
    ray_address: str | None = None
    cluster: str | None = None
    """Of submitit: `slurm` or `local`."""
    sbatch: Mapping[str, str] = field(default_factory=dict)


def open_executor(name: str, options: Options) -> Executor:
    """The executor of that name.

    Raises:
        UsageError: there is none, or an option belongs to another one.
    """
    _check(name, options)
    if name == "processes":
        from harness.executors.processes import ProcessesExecutor  # noqa: PLC0415 - only what is used is loaded

        return ProcessesExecutor(options.workers, options.threads)
    if name == "ray":
        from harness.executors.ray import RayExecutor  # noqa: PLC0415

        return RayExecutor(options.workers, options.threads, options.ray_address)
    if name == "submitit":
        from harness.executors.slurm import SlurmExecutor  # noqa: PLC0415

        return SlurmExecutor(options.folder, options.workers, options.threads, options.cluster, options.sbatch)
    from harness.executors.local import LocalExecutor  # noqa: PLC0415

    return LocalExecutor(options.threads)


def _check(name: str, options: Options) -> None:
    if name not in NAMES:
        raise UsageError(f"--executor {name!r}: one of {', '.join(NAMES)}")
    if options.workers is not None and name == "local":
        raise UsageError("--workers: --executor local is one process; give --executor processes, ray or submitit")
    if options.ray_address is not None and name != "ray":
        raise UsageError("--ray-address belongs to --executor ray")
    if (options.cluster is not None or options.sbatch) and name != "submitit":
        raise UsageError("--cluster, --slurm-partition and --slurm-option belong to --executor submitit")
