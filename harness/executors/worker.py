"""What every executor runs: one worker, which opens the bench of a target once and scores cells between canaries."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from dataclasses import replace

from harness.errors import CanaryFault, Fault, HarnessError
from harness.executors.tasks import Answer, Begun, Bench, Doubted, Faulted, Opened, Remark, Result, Scored, Setup, Task
from harness.records import Sparsity
from harness.store import Cell


class Worker:
    """Does tasks one after the other; those of one target share a bench, and the canary between two of them."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._bench: Bench | None = None
        self._target: str | None = None
        self._trusted = False
        """Whether the canaries were right when they were last looked at on this bench."""

    def run(self, task: Task, is_done: Callable[[Cell], bool] = lambda _: False) -> Iterator[Result]:
        """The results of a task, each as soon as there is one.

        When a canary is off, nothing of the batch counts. Faults are results; what is raised is not about the cells.

        Args:
            task: what to do.
            is_done: asked before each cell, which is left out where it says so.

        Raises:
            UsageError: a sparsity does not fit the target.
        """
        cells = tuple(cell for cell, _ in task.cells)
        try:
            bench, opened = self._open(task.target)
            for label in dict.fromkeys(cell.sparsity for cell in cells):
                bench.check_sparsity(Sparsity.parse(label))
            if opened is not None:
                yield opened
            if not self._trusted:
                bench.check_canaries(more=True)
        except Fault as fault:
            yield Faulted(cells, fault.status, str(fault))
            return
        done = []
        for result in self._scores(bench, task, is_done):
            if isinstance(result, Scored):
                done.append(result.cell)
            yield result
        self._trusted = False
        try:
            _check_twice(bench)
            self._trusted = True
        except CanaryFault as fault:
            yield Doubted(task.target, tuple(done), fault.status, str(fault))
        except Fault as fault:
            yield Remark(f"{task.target}: the canary after the batch could not run: {fault}")

    def _open(self, target: str) -> tuple[Bench, Opened | None]:
        """The bench of a target, and what is to be told of it where it was not open yet."""
        if self._bench is not None and self._target == target:
            return self._bench, None
        self._bench, self._target, self._trusted = None, target, False  # first let go of the other one
        bench = (self._setup.open_bench or _pipeline())(target, **self._setup.options)
        facts = (bench.measurement, tuple(bench.dense_losses), bench.dense_text, bench.environment)
        opened = Opened(target, *facts, platform.node())
        self._bench = bench
        return bench, opened

    def _scores(self, bench: Bench, task: Task, is_done: Callable[[Cell], bool]) -> Iterator[Begun | Scored | Faulted]:
        known = set(task.known)
        for index, (cell, pruner) in enumerate(task.cells):
            if is_done(cell):  # another process did it meanwhile
                continue
            yield Begun(cell)
            more, again = index + 1 < len(task.cells), self._setup.repeat and cell.pruner not in known
            try:
                score = bench.score(
                    pruner, Sparsity.parse(cell.sparsity), more=more, again=again, seeds=self._setup.seeds
                )
            except Fault as fault:
                yield Faulted((cell,), fault.status, str(fault))
                continue
            if score.repeatable is not None:
                known.add(cell.pruner)
            # a path as target may have another name in the score; results are filed under the study's
            yield Scored(cell, replace(score, target=cell.target), bench.environment[0])


def answers(worker: Worker, task: Task) -> Iterator[Answer]:
    """As `Worker.run`, for a worker elsewhere: what it raises about the study comes as the last result."""
    try:
        yield from worker.run(task)
    except HarnessError as error:
        yield error


def _check_twice(bench: Bench) -> None:
    """Check the canaries, and once more if one is off: an engine that was killed may have taken one along."""
    try:
        bench.check_canaries()
    except CanaryFault:
        bench.check_canaries()


def _pipeline() -> Callable[..., Bench]:
    from harness.pipeline import open_bench  # noqa: PLC0415 - it loads torch; a finished or refused study needs none

    return open_bench
