"""Workers on a Ray cluster, as actors. The one module that imports ray."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import console
from harness.errors import SandboxFault, UsageError
from harness.executors.dispatch import Lost, Ready, dispatch
from harness.executors.processors import processors
from harness.executors.tasks import Answer, Result, Setup, Task
from harness.executors.worker import Worker, answers
from harness.names import install
from harness.records import Limits
from harness.store import Cell

_INSTALL = f"--executor ray needs the package ray: {install('ray')}"
_PARTS = 4
"""Tasks a worker, so that none waits long for the last one."""
_OBJECT_STORE_BYTES = 128 << 20
"""Of a cluster of our own: results are small, and what Ray keeps for itself pruners lack."""
_THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True, slots=True)
class RayExecutor:
    """Workers on the cluster at `address`, or on one that is started here and ends with the run.

    Each reserves `threads` processors, one GPU where the study computes there, and the memory of one pruner. `workers`
    None is as many as the cluster has room for.
    """

    workers: int | None = None
    threads: int | None = None
    address: str | None = None

    def run(
        self, setup: Setup, tasks: Sequence[Task], is_done: Callable[[Cell], bool]
    ) -> Generator[Result, None, None]:
        """As `harness.executors.Executor` says."""
        ray = _ray()
        wants = {
            "CPU": self.threads or processors(),
            "GPU": int(setup.options.get("device") == "cuda"),
            "memory": setup.options.get("memory_bytes") or Limits().memory_bytes,
        }
        ours = not ray.is_initialized()
        if ours:
            self._connect(ray, wants["CPU"] * (self.workers or 1))
        try:
            count = self._count(ray, wants)
            workers = _Actors(ray, setup.with_threads(self.threads), count, wants)
            yield from dispatch(workers, tasks, is_done, parts=_PARTS * count)
        finally:
            if ours:
                ray.shutdown()

    def _connect(self, ray: Any, cpus: int) -> None:
        options: dict[str, Any] = {"address": self.address}
        if self.address is None and not os.environ.get("RAY_ADDRESS"):
            options = {"num_cpus": max(cpus, processors()), "object_store_memory": _OBJECT_STORE_BYTES}
        try:
            ray.init(**options, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            where = f"--ray-address {self.address}: " if self.address else ""
            raise SandboxFault(f"{where}Ray cannot be reached or started: {line}") from error

    def _count(self, ray: Any, wants: dict[str, int]) -> int:
        """How many workers to ask for.

        Raises:
            UsageError: there is room for none, and it was not said that there will be.
        """
        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        asked = {name: amount for name, amount in wants.items() if amount}
        room = sum(min(int(node.get(name, 0) // amount) for name, amount in asked.items()) for node in alive)
        if room == 0 and (self.workers is None or self.address is None):
            gpu = " and a GPU" if wants["GPU"] else ""
            raise UsageError(
                f"no machine of the Ray cluster has {wants['CPU']} processors, {wants['memory'] / (1 << 30):.3g} GiB"
                f"{gpu}: give fewer --cpus-per-task, or the study less memory"
            )
        return self.workers or room


class _Actors:
    """`harness.executors.dispatch.Workers` as Ray actors; what each is asked is one reference that is waited for."""

    def __init__(self, ray: Any, setup: Setup, count: int, wants: dict[str, int]) -> None:
        self.count = count
        self._ray = ray
        self._arguments = (setup, os.environ.get(_THREADS), str(Path.cwd()))
        self._class = ray.remote(_Actor).options(
            num_cpus=wants["CPU"], num_gpus=wants["GPU"], memory=wants["memory"], max_restarts=0
        )
        self._actors: dict[int, Any] = {}
        self._asked: dict[int, Any] = {}

    def start(self, worker: int) -> None:
        self._actors[worker] = self._class.remote(*self._arguments)
        self._asked[worker] = self._actors[worker].ready.remote()

    def begin(self, worker: int, task: Task) -> None:
        self._asked[worker] = self._actors[worker].run.remote(task)

    def wait(self) -> Iterator[tuple[int, Answer | Ready | Lost]]:
        numbers = {id(asked): worker for worker, asked in self._asked.items()}
        ready, _ = self._ray.wait(list(self._asked.values()), num_returns=1)
        for asked in ready:
            worker = numbers[id(asked)]
            try:
                answer = self._ray.get(asked if isinstance(asked, self._ray.ObjectRef) else next(asked))
            except StopIteration:
                answer = Ready()
            except self._ray.exceptions.RayError as error:
                answer = Lost(_line(error))
                self._ray.kill(self._actors.pop(worker))
            if isinstance(answer, Ready | Lost):
                self._asked.pop(worker, None)
            yield worker, answer

    def close(self) -> None:
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._actors.clear()


class _Actor:
    """A worker on the cluster."""

    def __init__(self, setup: Setup, threads: str | None, folder: str) -> None:
        console.set_quiet(True)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # what Ray blocks would be blocked for pruners, too
        os.environ.pop(_THREADS, None)  # Ray sets it, and the number of threads decides the last digits
        if threads is not None:
            os.environ[_THREADS] = threads
        if Path(folder).is_dir():  # relative paths of a study are the driver's
            os.chdir(folder)
        self._worker = Worker(setup)

    def ready(self) -> Ready:
        """As soon as there was room for this worker."""
        return Ready()

    def run(self, task: Task) -> Iterator[Answer]:
        """The answers to a task."""
        yield from answers(self._worker, task)


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    try:
        import ray  # noqa: PLC0415 - an optional extra, and slow to load
    except ImportError:
        raise UsageError(_INSTALL) from None
    return ray


def _line(error: Exception) -> str:
    """What is said of a lost worker: the last line, where Ray puts an exception of our own."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    return f"{type(error).__name__}: {lines[-1][:300]}"
