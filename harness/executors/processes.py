"""Many worker processes on this machine; with `device = "cuda"`, each has one GPU to itself."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from harness import console
from harness.errors import InputFault, UsageError
from harness.executors.dispatch import Lost, Ready, dispatch
from harness.executors.processors import processors
from harness.executors.tasks import Answer, Result, Setup, Task
from harness.executors.worker import Worker, answers
from harness.store import Cell

_PARTS = 4
"""Tasks a worker, so that none waits long for the last one."""
_END_SECONDS = 20.0
"""How long a worker may take to end what it had started."""


@dataclass(frozen=True, slots=True)
class ProcessesExecutor:
    """`workers` processes; None is one a GPU, or as many as have `threads` processors each."""

    workers: int | None = None
    threads: int | None = None

    def run(
        self, setup: Setup, tasks: Sequence[Task], is_done: Callable[[Cell], bool]
    ) -> Generator[Result, None, None]:
        """As `harness.executors.Executor` says."""
        gpus = _gpus() if setup.options.get("device") == "cuda" else None
        count = self._count(gpus)
        yield from dispatch(
            _Processes(setup.with_threads(self.threads), count, gpus), tasks, is_done, parts=_PARTS * count
        )

    def _count(self, gpus: list[str] | None) -> int:
        if gpus == []:
            raise InputFault("device cuda: nvidia-smi lists no GPU here; use another machine, or device = 'cpu'")
        if gpus is not None and (self.workers or 0) > len(gpus):
            raise UsageError(f"--workers {self.workers}: each takes a GPU, and there are {len(gpus)}")
        if self.workers is None and gpus is None and self.threads is None:
            raise UsageError("--executor processes: give --workers, or --cpus-per-task")
        return self.workers or (len(gpus) if gpus else max(1, processors() // (self.threads or 1)))


class _Processes:
    """`harness.executors.dispatch.Workers` as child processes at the other ends of pipes."""

    def __init__(self, setup: Setup, count: int, gpus: Sequence[str] | None) -> None:
        self.count = count
        self._setup = setup
        self._gpus = gpus
        self._context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks
        self._children: dict[int, tuple[SpawnProcess, Connection]] = {}

    def start(self, worker: int) -> None:
        ours, theirs = self._context.Pipe()
        gpu = None if self._gpus is None else self._gpus[worker]
        child = self._context.Process(target=_serve, args=(theirs, self._setup, gpu), daemon=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until the child can handle it
        try:
            child.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self._children[worker] = child, ours

    def begin(self, worker: int, task: Task) -> None:
        try:
            self._children[worker][1].send(task)
        except OSError:  # it has ended: `wait` reads the end of its pipe
            return

    def wait(self) -> Iterator[tuple[int, Answer | Ready | Lost]]:
        numbers = {ours: worker for worker, (_, ours) in self._children.items()}
        for ready in connection.wait(list(numbers)):
            assert isinstance(ready, Connection)
            worker = numbers[ready]
            try:
                answer = ready.recv()
            except (EOFError, OSError):
                child, _ = self._children.pop(worker)
                ready.close()
                child.join()
                answer = Lost(f"a worker process ended with {_how(child.exitcode)}")
            yield worker, answer

    def close(self) -> None:
        for child, ours in self._children.values():
            ours.close()
            child.terminate()
        for child, _ in self._children.values():
            child.join(_END_SECONDS)
            if child.exitcode is None:
                child.kill()
                child.join()
        self._children.clear()


def _serve(pipe: Connection, setup: Setup, gpu: str | None) -> None:
    """A worker process: does tasks until the pipe ends."""
    # Ctrl-C is the driver's, which ends the workers. Ignored or blocked it would be so for pruners, too.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    console.set_quiet(True)
    if gpu is not None:
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # the order of nvidia-smi, and of the containers
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    worker = Worker(setup)
    with suppress(KeyboardInterrupt):
        try:
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # what runs in a sandbox is ended, too
            while _told(pipe, Ready()) and (task := _asked(pipe)) is not None:
                for answer in answers(worker, task):
                    if not _told(pipe, answer):
                        return
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is left to end but this process


def _told(pipe: Connection, answer: Answer | Ready) -> bool:
    """Tell the driver; False where that is gone."""
    try:
        pipe.send(answer)
    except OSError:
        return False
    return True


def _asked(pipe: Connection) -> Task | None:
    """What the driver wants next; None where that is gone."""
    try:
        task = pipe.recv()
    except (EOFError, OSError):
        return None
    assert isinstance(task, Task)
    return task


def _gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=index", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()


def _how(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"signal {-exit_code}"
    return f"exit code {exit_code}"
