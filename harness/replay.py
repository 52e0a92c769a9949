"""Replay: recorded cells of a study once more, offline, and what came out beside what was recorded.

Nothing is asked of a model: the pruners are those of the recorded plan, from the study's pack where it is one.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness import packed, pruners
from harness.errors import UsageError
from harness.names import suggestion
from harness.recorded import Recorded
from harness.records import Measurement, Pruner
from harness.store import Cell, CellFault, Plan, Store
from harness.study import parse
from harness.study_run import fill

Key = tuple[str, str, str]
"""Target, sparsity, pruner."""
Facts = Mapping[str, str | None]
_FIRST = ("libraries.torch", "capability", "processor", "threads", "device", "isolation", "image", "commit", "dirty")
"""Facts that digits depend on most often."""
_MOST_FACTS = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which of the recorded cells: those of these targets, sparsities and pruners, or of any where none is named."""

    targets: Sequence[str] = ()
    sparsities: Sequence[str] = ()
    """Labels."""
    pruners: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What is compared of a cell, and what explains a difference."""

    status: str
    perplexity: float | None
    zeros_sha256: str | None
    """Of the mask; None where there is none, or it was not recorded."""
    environment: str | None
    """Id of what it was measured with; None where that was not recorded."""
    repeatable: bool | None

    def to_json(self) -> dict[str, Any]:
        """As `harness replay --json` has it."""
        return {name: getattr(self, name) for name in ("status", "perplexity", "zeros_sha256", "environment")}


@dataclass(frozen=True, slots=True)
class Pair:
    """A recorded cell, as it was and as it is now."""

    cell: Cell
    before: Result
    after: Result | None
    """None where the cell met a fault of the harness."""

    @property
    def differs(self) -> tuple[str, ...]:
        """What does, of `status`, `perplexity` (in any digit) and `mask` (in any bit, where both are known)."""
        if self.after is None:
            return ()
        masks = {self.before.zeros_sha256, self.after.zeros_sha256}
        unequal = {
            "status": self.before.status != self.after.status,
            "perplexity": self.before.perplexity != self.after.perplexity,
            "mask": None not in masks and len(masks) > 1,
        }
        return tuple(name for name, differs in unequal.items() if differs)

    @property
    def masks_compared(self) -> bool:
        """Whether both masks are known."""
        return self.after is not None and None not in (self.before.zeros_sha256, self.after.zeros_sha256)


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing about the program or the machine that is another now than it was."""

    name: str
    recorded: tuple[str | None, ...]
    """More than one where the study ran on several."""
    here: tuple[str | None, ...]


@dataclass(frozen=True)
class Replay:
    """What came of a replay."""

    pairs: Sequence[Pair]
    notes: Sequence[str]
    """What else may explain a difference; one line each, with names of the study in it."""
    faults: Sequence[CellFault]
    recorded_with: Mapping[str, Facts]
    """By the ids of environments."""
    measured_with: Mapping[str, Facts]

    @property
    def ran(self) -> list[Pair]:
        """Those that ran again."""
        return [pair for pair in self.pairs if pair.after is not None]

    @property
    def differing(self) -> list[Pair]:
        """Those of which something differs."""
        return [pair for pair in self.pairs if pair.differs]

    def facts(self, pairs: Iterable[Pair]) -> list[Fact]:
        """What of the program and the machine is another now than it was for some of these pairs."""
        found: dict[str, tuple[dict[str | None, None], dict[str | None, None]]] = {}
        both = {(pair.before.environment, pair.after.environment) for pair in pairs if pair.after is not None}
        for old, new in sorted((old, new) for old, new in both if old is not None and new is not None):
            recorded, here = self.recorded_with.get(old, {}), self.measured_with.get(new, {})
            for name in dict.fromkeys((*here, *recorded)):
                if recorded.get(name) != here.get(name):
                    values = found.setdefault(name, ({}, {}))
                    values[0][recorded.get(name)] = values[1][here.get(name)] = None
        return [Fact(name, *map(tuple, found[name])) for name in sorted(found, key=_place)]


def replay(
    source: Recorded, wanted: Wanted | None = None, *, sandbox: str | None = None, runtime: str | None = None
) -> Replay:
    """Run the recorded cells of a study again, into a place of its own.

    Args:
        source: the study's results.
        wanted: which of them; None for all.
        sandbox: in place of the study's.
        runtime: Docker runtime such as `runsc`.

    Raises:
        UsageError: nothing is recorded, or nothing that is wanted is; a pruner that is not of a pack is gone.
        StorageFault: the results cannot be read, or the pack lacks the code of a pruner.
    """
    with Store(source.path, create=False) as store:
        plan, before, measured = store.plan(), _results(store), store.measurements()
        machines = _environments(store)
    if plan is None or not before:
        raise UsageError(f"{source.path}: nothing is recorded yet, so there is nothing to compare: run the study first")
    cells = _chosen([cell for cell in plan.cells if cell.key in before], wanted or Wanted())
    by_name, notes = _pruners(source, cells)
    # this run is the second one of each pruner: no other is needed to see whether the same comes out
    study = parse(plan.text, str(source.path)).model_copy(update={"repeat": False})
    with tempfile.TemporaryDirectory(prefix="harness-replay-") as folder, Store(Path(folder, "again.sqlite")) as again:
        current = [replace(cell, source_sha256=packed.digest_of(by_name[cell.pruner])) for cell in cells]
        again.save_plan(Plan(study.name, study.source, study.settings, study.rank_isolation, tuple(current)))
        fill(study, again, current, by_name, sandbox=sandbox, runtime=runtime)
        after, faults = _results(again), again.faults()
        notes += _protocol_notes(measured, again.measurements())
        here = _environments(again)
    pairs = [Pair(cell, before[cell.key], after.get(cell.key)) for cell in cells]
    return Replay(pairs, [*notes, *_result_notes(pairs, before)], faults, machines, here)


def facts(record: Mapping[str, Any]) -> dict[str, str | None]:
    """An environment's record as names and texts, those of its parts under `part.name`; it may be a stranger's."""
    found: dict[str, str | None] = {}
    for name, value in record.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        found |= {f"{name}.{part}" if part else name: _fact(inner) for part, inner in parts}
    return {name: found[name] for name in sorted(found, key=_place)[:_MOST_FACTS]}


def _place(name: str) -> tuple[int, str]:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST), name


def _fact(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, int | float) else "?"


def _results(store: Store) -> dict[Key, Result]:
    zeros, origins = store.zeros(), store.origins()
    found = {}
    for score in store.scores():
        key = (score.target, score.sparsity, score.pruner)
        mask, origin = zeros.get(key), origins.get(key)
        machine = None if origin is None else origin.environment
        digest = None if mask is None else mask.sha256
        found[key] = Result(score.status, score.perplexity, digest, machine, score.repeatable)
    return found


def _environments(store: Store) -> dict[str, Facts]:
    return {name: facts(record) for name, record in store.environments().items()}


def _chosen(cells: Sequence[Cell], wanted: Wanted) -> list[Cell]:
    """Those that are wanted; each name must be of some recorded cell."""
    asked = {"target": wanted.targets, "sparsity": wanted.sparsities, "pruner": wanted.pruners}
    for name, values in asked.items():
        known = list(dict.fromkeys(getattr(cell, name) for cell in cells))
        for value in values:
            if value not in known:
                near = suggestion(value, known)
                raise UsageError(f"--{name} {value[:120]!r}: nothing is recorded of it.{near} See `harness report`")
    chosen = [
        cell for cell in cells if all(not values or getattr(cell, name) in values for name, values in asked.items())
    ]
    if not chosen:
        raise UsageError("no recorded cell is of all that was asked for: name fewer of --target, --sparsity, --pruner")
    return chosen


def _pruners(source: Recorded, cells: Sequence[Cell]) -> tuple[dict[str, Pruner], list[str]]:
    """The pruners of these cells by name, and what is to be said of their code."""
    digests = {cell.pruner: cell.source_sha256 for cell in cells}
    if source.pack is not None:
        found = {name: packed.find(source.pack, name, digest) for name, digest in digests.items()}
        others = packed.others_here(cells)
        return found, [f"{name}: the code of that name here is another; what ran is the pack's" for name in others]
    found = {name: pruners.find(name) for name in digests}
    changed = [name for name, digest in digests.items() if packed.digest_of(found[name]) != digest]
    return found, [f"{name}: its code has changed since the study ran" for name in changed]


def _protocol_notes(before: Mapping[str, Measurement], now: Mapping[str, Measurement]) -> list[str]:
    notes = []
    for target, one in now.items():
        if target not in before:
            continue
        if before[target].id != one.id:
            notes.append(f"{target}: measured by protocol {one.id}, recorded by {before[target].id}")
        if before[target].weights_sha256 != one.weights_sha256:
            notes.append(f"{target}: its weights are others than those that were recorded")
    return notes


def _result_notes(pairs: Iterable[Pair], before: Mapping[Key, Result]) -> list[str]:
    """What the records themselves say of cells that differ."""
    differing = [pair for pair in pairs if pair.differs]
    varying = {pruner for (_, _, pruner), result in before.items() if result.repeatable is False}
    notes = [
        f"{name}: a second run with the same seed gave other weights already when it was recorded"
        for name in dict.fromkeys(pair.cell.pruner for pair in differing)
        if name in varying
    ]
    if unknown := sum(pair.before.environment is None for pair in differing):
        notes.append(f"of {unknown} cells that differ is not recorded what they were measured with")
    return notes
