"""Store -> results: everything that a report is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.console import plain
from harness.errors import StorageFault
from harness.overlap import Cell
from harness.pack import Pack
from harness.records import Measurement, Score, Zeros
from harness.repairs import round_of
from harness.report.attempts import Attempt, attempts
from harness.report.repairs import Repairs, read_repairs
from harness.store import CellFault, Store


@dataclass(frozen=True)
class Results:
    """Everything that a report is made from."""

    name: str
    planned: int
    scores: Sequence[Score]
    faults: Sequence[CellFault]
    measurements: Mapping[str, Measurement]
    rank_isolation: str
    prompt: str | None = None
    """What the pruned models were asked to go on from."""
    zeros: Mapping[Cell, Zeros] = field(default_factory=dict)
    """Where the zeros of each scored model are, where that was recorded."""
    attempts: Mapping[str, Attempt] = field(default_factory=dict)
    """What is known of each pruner's code, by its name."""
    digests: Mapping[str, str | None] = field(default_factory=dict)
    """SHA-256 of the code of each pruner that was run; None where there was none."""
    cells: Sequence[Cell] = ()
    """What was planned; empty where that is not known."""
    repairs_of: str | None = None
    """Of a round of repairs: the one-pass study that it belongs to."""
    repairs: Sequence[Repairs] = ()
    """What the rounds of repairs saved; no part of anything above."""
    measured_with: Mapping[Cell, str] = field(default_factory=dict)
    """The program, its libraries and the machine, in a line; of one study, where that was recorded."""

    @property
    def targets(self) -> list[str]:
        """The targets of which there are results, in the study's order."""
        return list(dict.fromkeys(score.target for score in self.scores))

    def unfinished(self) -> set[tuple[str, str]]:
        """Targets and pruners of which a planned cell has no score, as faults of the harness leave them."""
        scored = {(score.target, score.sparsity, score.pruner) for score in self.scores}
        return {(target, pruner) for target, sparsity, pruner in self.cells if (target, sparsity, pruner) not in scored}

    def dense_perplexity(self, target: str) -> float | None:
        """Of the unpruned target."""
        return next((s.dense_perplexity for s in self.scores if s.target == target and s.dense_perplexity), None)

    def notices(self) -> list[str]:
        """What a reader must know before the numbers; one line each."""
        lines = [f"{len(self.scores)} of {self.planned} cells have a result."]
        if self.repairs_of:
            lines.append(
                f"A round of repairs of {plain(self.repairs_of, 120)}: failed attempts, asked again with their errors;"
                " no part of a one-pass result."
            )
        if self.faults:
            lines.append(
                f"{len(self.faults)} cells met a fault of the harness: no result, no pruner's fault;"
                " `harness study run` tries them again."
            )
        outside = sorted({score.isolation for score in self.scores if score.perplexity is not None} - {"docker"})
        weaker = ", ".join(level for level in outside if not level.startswith("docker"))
        if weaker and self.rank_isolation == "any":
            lines.append(
                f"Ranked with the isolation {weaker}, by request: weaker than docker, and its times and memory are"
                " not comparable with others."
            )
        elif weaker:
            lines.append(f"Rows with the isolation {weaker} have no rank: add --rank-any-isolation to rank them.")
        return lines


def read(store_path: Path, rank_isolation: str | None = None, pack: Pack | None = None) -> Results:
    """The results in a file.

    Args:
        store_path: the results file.
        rank_isolation: overrides what the study was run with.
        pack: that the results are of, if they are of one: code and answers are those in it.

    Raises:
        StorageFault: it is no usable results file.
    """
    with Store(store_path, create=False) as store:
        plan = store.plan()
        if plan is None:
            raise StorageFault(f"{store_path}: holds no study; run `harness study run` with it first")
        digests = {cell.pruner: cell.source_sha256 for cell in plan.cells}
        name = str(plan.name)  # the file may be a stranger's
        return Results(
            plan.name,
            len(plan.cells),
            store.scores(),
            store.faults(),
            store.measurements(),
            rank_isolation or plan.rank_isolation,
            plan.settings.get("text"),
            store.zeros(),
            attempts(digests, pack),
            digests,
            [cell.key for cell in plan.cells],
            round_of(name)[0] if plan.settings.get("repairs") else None,
            read_repairs(store, name),
            _measured_with(store),
        )


def _measured_with(store: Store) -> dict[Cell, str]:
    lines = {name: _line(record) for name, record in store.environments().items()}
    return {cell: lines[origin.environment] for cell, origin in store.origins().items() if origin.environment in lines}


def _line(record: Mapping[str, Any]) -> str:
    """An environment in a line; it may be a stranger's."""
    libraries = record.get("libraries")
    commit = f"commit {str(record['commit'])[:12]}" if record.get("commit") else None
    facts = [
        f"harness {record.get('harness')}",
        f"{commit} with changes" if commit and record.get("dirty") else commit,
        f"torch {libraries['torch']}" if isinstance(libraries, dict) and "torch" in libraries else None,
        record.get("processor"),
        f"{record['threads']} threads" if record.get("threads") else None,
        str(record["image"])[:19] if record.get("image") else None,
    ]
    return plain(", ".join(str(fact) for fact in facts if fact), 300)
