"""Tasks over many workers: who gets which next, and what becomes of the cells of a worker that was lost."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Protocol

from harness.errors import HarnessError, SandboxFault
from harness.executors.tasks import Answer, Begun, Doubted, Faulted, Result, Scored, Task, cut
from harness.store import Cell

ATTEMPTS = 3
"""How often a worker may be lost at a cell before that is filed as a fault."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker waits for its first or next task."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker has ended, and not by itself at the end of a task."""

    reason: str


class Workers(Protocol):
    """Workers elsewhere, by number from 0; each does one task at a time."""

    count: int

    def start(self, worker: int) -> None:
        """Start this one, or another in its place; `wait` tells when it is ready."""
        ...

    def begin(self, worker: int, task: Task) -> None:
        """Give a task to a worker that is ready. Whatever fails here is told by `wait`."""
        ...

    def wait(self) -> Iterable[tuple[int, Answer | Ready | Lost]]:
        """Wait until something happens, and say at which worker."""
        ...

    def close(self) -> None:
        """End them all, in the middle of a task, too."""
        ...


def dispatch(
    workers: Workers, tasks: Sequence[Task], is_done: Callable[[Cell], bool], parts: int
) -> Generator[Result, None, None]:
    """Results of tasks as they come, from whichever worker; at the end all workers are ended.

    Args:
        workers: not started.
        tasks: one a target.
        is_done: asked before cells are given away.
        parts: in how many a task is cut.

    Raises:
        HarnessError: a worker's answer that ends the run.
        SandboxFault: no worker can be started.
    """
    queue = _Queue(part for task in tasks for part in cut(task, parts))
    with closing(workers):
        for worker in range(workers.count):
            workers.start(worker)
        idle: set[int] = set()
        failed_starts = 0
        while queue.waiting or queue.running:
            for worker in sorted(idle):
                if (task := queue.take(worker, is_done)) is not None:
                    idle.discard(worker)
                    workers.begin(worker, task)
            if not queue.running and not queue.waiting:  # others have done what was left
                return
            for worker, answer in workers.wait():
                if isinstance(answer, HarnessError):
                    raise answer
                if isinstance(answer, Ready):
                    queue.finish(worker)
                    idle.add(worker)
                    failed_starts = 0
                elif isinstance(answer, Lost):
                    failed_starts += worker not in queue.running
                    if failed_starts > ATTEMPTS * workers.count:
                        raise SandboxFault(f"no worker can be started: {answer.reason}")
                    idle.discard(worker)
                    yield from queue.lose(worker, answer.reason)
                    if queue.waiting:
                        workers.start(worker)
                else:
                    yield from queue.result(worker, answer)


class _Queue:
    """The tasks that wait, and what is left of those that run."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self.waiting = deque(tasks)
        self.running: dict[int, Task] = {}
        self._begun: dict[int, Cell] = {}
        self._targets: dict[int, str] = {}
        self._losses: Counter[Cell] = Counter()

    def take(self, worker: int, is_done: Callable[[Cell], bool]) -> Task | None:
        """The next task for a worker: of the target whose bench it has, while there is one."""
        same = [task for task in self.waiting if task.target == self._targets.get(worker)]
        for task in [*same, *(task for task in self.waiting if task not in same)]:
            self.waiting.remove(task)
            left = task.without(is_done)
            if left.cells:
                self.running[worker] = left
                self._targets[worker] = left.target
                return left
        return None

    def result(self, worker: int, result: Result) -> Iterator[Result]:
        """Pass a result on, and note what it says about the task; of a cell, only the first counts."""
        task = self.running[worker]
        if isinstance(result, Begun):
            self._begun[worker] = result.cell
        else:
            self._begun.pop(worker, None)
        if isinstance(result, Scored | Faulted):
            told = {result.cell} if isinstance(result, Scored) else set(result.cells)
            left = task.without(told.__contains__)
            if len(left.cells) == len(task.cells):
                return
            if isinstance(result, Scored) and result.score.repeatable is not None:
                left = replace(left, known=left.known | {result.cell.pruner})
            self.running[worker] = left
        yield result
        if isinstance(result, Doubted):
            self.running[worker] = replace(task, cells=())

    def finish(self, worker: int) -> None:
        """A worker is through with its task, if it had one."""
        self.running.pop(worker, None)

    def lose(self, worker: int, reason: str) -> Iterator[Faulted]:
        """What a lost worker left goes back into the queue, and to other workers; not for ever.

        It is the cell that it was at which counts as tried, and what is left of that pruner goes apart from the rest.
        Where it was at none, it was lost at the target or at a canary, and all that is left counts.
        """
        task = self.running.pop(worker, None)
        self._targets.pop(worker, None)
        begun = self._begun.pop(worker, None)
        if task is None or not task.cells:
            return
        self._losses.update([begun] if begun else [cell for cell, _ in task.cells])
        given_up = tuple(cell for cell, _ in task.cells if self._losses[cell] >= ATTEMPTS)
        if given_up:
            yield Faulted(given_up, SandboxFault.status, f"its worker was lost {ATTEMPTS} times: {reason}")
        left = task.without(given_up.__contains__)
        suspect = begun.pruner if begun else None
        others = left.without(lambda cell: cell.pruner == suspect)
        own = left.without(lambda cell: cell.pruner != suspect)
        self.waiting.extend(part for part in (others, own) if part.cells)
