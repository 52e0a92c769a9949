"""Workers as jobs of Slurm, or on this machine for a try, through submitit. The one module that imports submitit.

A job does one task and ends. It writes each result into a folder that the driver reads, which has to be on a disk that
both see, so that a job which is cancelled or runs out of time loses no more than the cell that it was at.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from harness import console
from harness.errors import SandboxFault, UsageError
from harness.executors.dispatch import Lost, Ready, dispatch
from harness.executors.processors import processors
from harness.executors.tasks import Answer, Result, Scored, Setup, Task
from harness.executors.worker import Worker, answers
from harness.names import install
from harness.records import Limits
from harness.store import Cell

_INSTALL = f"--executor submitit needs the package submitit: {install('slurm')}"
_WORKERS = 4
_LOOK_SECONDS = 0.2
_MINUTES = 24 * 60
"""Of a job, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class SlurmExecutor:
    """At most `workers` jobs at once, each with `threads` processors, memory for pruner and scorer, and maybe a GPU.

    `cluster` is one of submitit's, `slurm` or `local`; None is the one that it finds. `sbatch` are options of sbatch,
    without dashes, beside or in place of these. Files of jobs go into a folder in `folder`, which stays if one is lost.
    """

    folder: Path
    workers: int | None = None
    threads: int | None = None
    cluster: str | None = None
    sbatch: Mapping[str, str] = field(default_factory=dict)

    def run(
        self, setup: Setup, tasks: Sequence[Task], is_done: Callable[[Cell], bool]
    ) -> Generator[Result, None, None]:
        """As `harness.executors.Executor` says."""
        count = self.workers or _WORKERS
        self.folder.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="jobs-", dir=self.folder)).absolute()
        try:
            jobs = _Jobs(self._executor(folder, setup), folder, setup.with_threads(self.threads), count)
            yield from dispatch(jobs, tasks, is_done, parts=count)
        finally:
            if not any(folder.glob("*/lost")):
                shutil.rmtree(folder, ignore_errors=True)

    def _executor(self, folder: Path, setup: Setup) -> Any:
        submitit = _submitit()
        memory = setup.options.get("memory_bytes") or Limits().memory_bytes
        try:
            executor = submitit.AutoExecutor(folder=folder / "%j", cluster=self.cluster)
        except RuntimeError as error:
            raise SandboxFault(f"--executor submitit: {error}; give --cluster local to try it here") from error
        if self.sbatch and executor.cluster != "slurm":
            raise UsageError(f"--slurm-option and --slurm-partition belong to Slurm, and this is {executor.cluster}")
        executor.update_parameters(
            name="harness",
            timeout_min=_MINUTES,
            cpus_per_task=self.threads or processors(),
            gpus_per_node=int(setup.options.get("device") == "cuda"),
            mem_gb=2 * memory / (1 << 30),  # of a pruner, and as much for the scorer
            slurm_additional_parameters=dict(self.sbatch) or None,
        )
        return executor


class _Jobs:
    """`harness.executors.dispatch.Workers` as places in the queue: each holds one job at a time."""

    def __init__(self, executor: Any, folder: Path, setup: Setup, count: int) -> None:
        self.count = count
        self._executor = executor
        self._folder = folder
        self._setup = setup
        self._ready: list[int] = []
        self._jobs: dict[int, tuple[Any, Path, int]] = {}
        """By worker: the job, its folder of results, and how many of these were read."""
        self._submitted = 0

    def start(self, worker: int) -> None:
        self._ready.append(worker)

    def begin(self, worker: int, task: Task) -> None:
        folder = self._folder / f"results-{self._submitted}"
        folder.mkdir()
        self._submitted += 1
        try:
            job = self._executor.submit(_job, folder, self._setup, task, str(Path.cwd()))
        except (OSError, RuntimeError) as error:
            line = (str(error).strip().splitlines() or [""])[-1]
            raise SandboxFault(f"a job cannot be submitted: {line[:300]}") from error
        self._jobs[worker] = job, folder, 0

    def wait(self) -> Iterator[tuple[int, Answer | Ready | Lost]]:
        ready, self._ready = self._ready, []
        yield from ((worker, Ready()) for worker in ready)
        while not ready:
            for worker in list(self._jobs):
                found = list(self._look(worker))
                yield from ((worker, answer) for answer in found)
                if found:
                    return
            time.sleep(_LOOK_SECONDS)

    def _look(self, worker: int) -> Iterator[Answer | Ready | Lost]:
        """What is new of a job."""
        job, folder, read = self._jobs[worker]
        ended = job.done()
        new = _written(folder, read)
        if ended and not any(isinstance(answer, Ready) for answer in new):
            if self._executor.cluster != "local":
                job.exception()  # it waits for files that are on their way, on a disk of many machines
            new = _written(folder, read)
        self._jobs[worker] = job, folder, read + len(new)
        for answer in new:
            if isinstance(answer, Ready):
                del self._jobs[worker]
            yield answer
        if ended and worker in self._jobs:
            del self._jobs[worker]
            (folder / "lost").touch()
            yield Lost(f"job {job.job_id} ended early ({_last_line(job.stderr())}); see {job.paths.stderr}")

    def close(self) -> None:
        for job, _, _ in self._jobs.values():
            job.cancel(check=False)
            if self._executor.cluster == "local":  # it ends what it had started before its files go
                job.wait()
        self._jobs.clear()


def _job(folder: Path, setup: Setup, task: Task, working_folder: str) -> None:
    """A job: writes its answers into `folder`, each as a file of its own."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # scancel: what runs in a sandbox is ended, too
    console.set_quiet(True)
    os.chdir(working_folder)
    before = _written(folder, 0)  # of a job that was put back into the queue
    done = {answer.cell for answer in before if isinstance(answer, Scored)}
    todo = task.without(done.__contains__)
    for number, answer in enumerate(chain(answers(Worker(setup), todo), [Ready()]), start=len(before)):
        _write(folder, number, answer)


def _write(folder: Path, number: int, answer: Answer | Ready) -> None:
    from submitit.core import utils  # noqa: PLC0415 - an optional extra

    with utils.temporary_save_path(folder / f"{number}.answer") as part:
        utils.cloudpickle_dump(answer, part)


def _written(folder: Path, read: int) -> list[Answer | Ready]:
    """The answers from number `read` on."""
    from submitit.core import utils  # noqa: PLC0415

    found: list[Answer | Ready] = []
    while (file := folder / f"{read + len(found)}.answer").is_file():
        found.append(utils.pickle_load(file))
    return found


def _submitit() -> Any:
    try:
        import submitit  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise UsageError(_INSTALL) from None
    return submitit


def _last_line(text: str | None) -> str:
    """Of a log: of a traceback, the exception."""
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "without a word"
