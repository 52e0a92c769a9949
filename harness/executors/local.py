"""One worker, in this process."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from harness.executors.tasks import Result, Setup, Task
from harness.executors.worker import Worker
from harness.store import Cell


@dataclass(frozen=True, slots=True)
class LocalExecutor:
    """Runs all tasks in this process, one target after the other."""

    threads: int | None = None

    def run(
        self, setup: Setup, tasks: Sequence[Task], is_done: Callable[[Cell], bool]
    ) -> Generator[Result, None, None]:
        """As `harness.executors.Executor` says."""
        worker = Worker(setup.with_threads(self.threads))
        for task in tasks:
            yield from worker.run(task, is_done)
