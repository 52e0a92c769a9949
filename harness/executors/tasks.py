"""What goes to a worker, and what comes back: plain records, which each executor carries over in its own way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from harness.errors import HarnessError
from harness.records import Measurement, Pruner, Score, Sparsity
from harness.store import Cell


class Bench(Protocol):
    """What `harness.pipeline.open_bench` gives: a target, ready to prune and to score."""

    @property
    def measurement(self) -> Measurement:
        """The protocol."""
        ...

    @property
    def environment(self) -> tuple[str, Mapping[str, Any]]:
        """The id of what it measures with, and that."""
        ...

    @property
    def dense_losses(self) -> Sequence[float]:
        """Mean loss of each window of the dense model, in nats."""
        ...

    @property
    def dense_perplexity(self) -> float:
        """Of the dense model."""
        ...

    @property
    def dense_text(self) -> str | None:
        """How the dense model goes on from the prompt; None where there is none."""
        ...

    def check_sparsity(self, sparsity: Sparsity) -> None:
        """Raises UsageError when the target has nothing of what the sparsity is about."""
        ...

    def check_canaries(self, *, more: bool = False) -> None:
        """Run pruners with known answers; raises CanaryFault when one is off."""
        ...

    def score(
        self, pruner: Pruner, sparsity: Sparsity, *, more: bool = False, again: bool = False, seeds: int = 1
    ) -> Score:
        """Prune in the sandbox, check, score; `more` when another one follows, `again` to see if the same comes out.

        With as many of `seeds` as make a difference. Raises Fault when the harness itself failed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Setup:
    """What all tasks of a run share."""

    options: Mapping[str, Any]
    """Of `harness.pipeline.open_bench`."""
    repeat: bool = True
    seeds: int = 1
    open_bench: Callable[..., Bench] | None = None
    """In place of `harness.pipeline.open_bench`; it has to be one that can be sent to a worker."""

    def with_threads(self, threads: int | None) -> Setup:
        """The same with so many threads for each run; None is what the machine has."""
        return self if threads is None else replace(self, options={**self.options, "threads": threads})


@dataclass(frozen=True, slots=True)
class Task:
    """Cells of one target, with the code that each needs: a worker looks nothing up."""

    target: str
    cells: tuple[tuple[Cell, Pruner], ...]
    known: frozenset[str] = frozenset()
    """Pruners of which it is on file for this target whether a second run gives the same weights."""

    def without(self, is_done: Callable[[Cell], bool]) -> Task:
        """The task without the cells that are done."""
        return replace(self, cells=tuple(pair for pair in self.cells if not is_done(pair[0])))


@dataclass(frozen=True, slots=True)
class Opened:
    """A worker has opened the bench of a target."""

    target: str
    measurement: Measurement
    dense_losses: tuple[float, ...]
    dense_text: str | None
    environment: tuple[str, Mapping[str, Any]]
    """Its id and its record."""
    host: str
    """The name of the worker's machine."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A worker is at a cell from now on: if it is lost, then at this one."""

    cell: Cell


@dataclass(frozen=True, slots=True)
class Scored:
    """A cell is done."""

    cell: Cell
    score: Score
    environment: str
    """The id of that of the worker."""


@dataclass(frozen=True, slots=True)
class Faulted:
    """The harness failed at cells."""

    cells: tuple[Cell, ...]
    status: str
    message: str


@dataclass(frozen=True, slots=True)
class Doubted:
    """A canary after a batch was off: the scores of these cells, which came before, are not to be believed."""

    target: str
    cells: tuple[Cell, ...]
    status: str
    message: str


@dataclass(frozen=True, slots=True)
class Remark:
    """One line for people."""

    text: str


Result = Opened | Begun | Scored | Faulted | Doubted | Remark
Answer = Result | HarnessError
"""A HarnessError is the last of a task: it ends the run."""


def cut(task: Task, parts: int) -> list[Task]:
    """A task in about so many, of equal size; what is of one pruner stays together.

    Whether a pruner runs twice depends on how its cells before came out, so they are one worker's, in order.
    """
    names = list(dict.fromkeys(cell.pruner for cell, _ in task.cells))
    parts = max(1, min(parts, len(names)))
    shares = [set(names[len(names) * part // parts : len(names) * (part + 1) // parts]) for part in range(parts)]
    return [
        replace(task, cells=tuple(pair for pair in task.cells if pair[0].pruner in share)) for share in shares if share
    ]
