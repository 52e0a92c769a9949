"""The results of one study in one file: the plan, the scores, the faults, the measurement protocols.

A cell has one score: the first one stays. Faults of the harness stand in a table of their own and never take a score's
place.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any

from pydantic import TypeAdapter

from harness.database import Database
from harness.errors import UsageError
from harness.records import Measurement, Score, Sparsity, Zeros

_SCORES = TypeAdapter(Score)
_MEASUREMENTS = TypeAdapter(Measurement)


@dataclass(frozen=True, slots=True)
class Cell:
    """One pruner at one sparsity on one target: what is run, and scored, once."""

    target: str
    sparsity: str
    pruner: str
    source_sha256: str | None = None
    """Of the pruner's code; None where there is none to run."""

    @property
    def key(self) -> tuple[str, str, str]:
        """What a result is filed under."""
        return self.target, self.sparsity, self.pruner


@dataclass(frozen=True, slots=True)
class Plan:
    """What a study set out to do."""

    name: str
    text: str
    """The study file."""
    settings: Mapping[str, Any]
    """Everything in it that changes a result, besides the cells."""
    rank_isolation: str
    """`docker` or `any`: the isolation that a ranked row needs."""
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class CellFault:
    """The latest fault of the harness at a cell that has no score."""

    target: str
    sparsity: str
    pruner: str
    status: str
    message: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Origin:
    """With what a score was measured, and when."""

    environment: str
    """The id of an environment on file."""
    finished: str
    """UTC, ISO 8601."""


class Store(Database):
    """The results file of one study; a context manager. Every method raises StorageFault on an unusable file."""

    def plan(self) -> Plan | None:
        """The plan on file; None before the first `save_plan`."""
        with self.reading():
            row = self.connection.execute("SELECT name, text, settings, rank_isolation FROM study").fetchone()
            if row is None:
                return None
            cells = self.connection.execute(
                "SELECT target, sparsity, pruner, source_sha256 FROM cell ORDER BY position"
            )
            return Plan(row[0], row[1], json.loads(row[2]), row[3], tuple(Cell(*cell) for cell in cells))

    def save_plan(self, plan: Plan) -> None:
        """Put `plan` in the place of the one on file; cells that have a score must be among its cells."""
        digest = sha256(plan.text.encode()).hexdigest()
        settings = json.dumps(dict(plan.settings), sort_keys=True)
        with self.transaction() as connection:
            connection.execute("DELETE FROM study")
            connection.execute(
                "INSERT INTO study VALUES (1, ?, ?, ?, ?, ?)",
                (plan.name, plan.text, digest, settings, plan.rank_isolation),
            )
            connection.execute("UPDATE cell SET position = -1")
            connection.executemany(
                "INSERT INTO cell VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
                " SET position = excluded.position, source_sha256 = excluded.source_sha256",
                [(*cell.key, cell.source_sha256, position) for position, cell in enumerate(plan.cells)],
            )
            connection.execute("DELETE FROM cell WHERE position = -1")

    def measurements(self) -> dict[str, Measurement]:
        """The protocol that each target was measured by."""
        with self.reading():
            rows = self.connection.execute("SELECT target, record FROM measurement ORDER BY target")
            return {target: _measurement(record) for target, record in rows}

    def dense_losses(self, target: str) -> tuple[float, ...] | None:
        """The dense model's window losses on a target; None when it was never opened."""
        with self.reading():
            row = self.connection.execute("SELECT dense_losses FROM measurement WHERE target = ?", (target,))
            found = row.fetchone()
            return None if found is None else _unpack(found[0])

    def add_measurement(self, target: str, measurement: Measurement, dense_losses: Sequence[float]) -> None:
        """File the protocol of a target, in the place of an earlier one."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO measurement VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
                " SET record = excluded.record, dense_losses = excluded.dense_losses",
                (target, json.dumps(asdict(measurement)), _pack(dense_losses)),
            )

    def scores(self) -> list[Score]:
        """All scores, in plan order."""
        with self.reading():
            rows = self.connection.execute(
                "SELECT record, window_losses FROM score JOIN cell USING (target, sparsity, pruner) ORDER BY position"
            )
            return [_score(record, losses) for record, losses in rows]

    def zeros(self) -> dict[tuple[str, str, str], Zeros]:
        """Where the zeros of each scored model are, by target, sparsity and pruner; of those that were recorded."""
        with self.reading():
            rows = self.connection.execute("SELECT target, sparsity, pruner, fractions, sample, sha256 FROM zeros")
            return {
                (target, sparsity, pruner): Zeros(struct.unpack(f"<{len(blob) // 4}f", blob), sample, digest)
                for target, sparsity, pruner, blob, sample, digest in rows
            }

    def scored(self) -> set[tuple[str, str, str]]:
        """Target, sparsity and pruner of each cell that is done; no score is read for it."""
        with self.reading():
            return set(self.connection.execute("SELECT target, sparsity, pruner FROM score"))

    def isolations(self) -> set[str]:
        """The isolation of every score."""
        with self.reading():
            rows = self.connection.execute("SELECT DISTINCT json_extract(record, '$.isolation') FROM score")
            return {str(isolation) for (isolation,) in rows}

    def has_score(self, cell: Cell) -> bool:
        """Whether the cell is done."""
        with self.reading():
            found = self.connection.execute(
                "SELECT 1 FROM score WHERE target = ? AND sparsity = ? AND pruner = ?", cell.key
            )
            return found.fetchone() is not None

    def add_score(self, cell: Cell, score: Score, environment: str | None = None) -> None:
        """File the score of a cell, once: an earlier one stays, a fault of this cell goes.

        `environment` is the id of what it was measured with, as `add_environment` was given it.
        """
        record = asdict(score)
        losses, _ = record.pop("window_losses"), record.pop("zeros")
        blob = None if losses is None else _pack(losses)
        with self.transaction() as connection:
            added = connection.execute(
                "INSERT INTO score VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (*cell.key, score.status, json.dumps(record), blob),
            )
            if added.rowcount and (zeros := score.zeros) is not None:
                fractions = struct.pack(f"<{len(zeros.fractions)}f", *zeros.fractions)
                row = (*cell.key, fractions, zeros.sample, zeros.sha256)
                connection.execute("INSERT INTO zeros VALUES (?, ?, ?, ?, ?, ?)", row)
            if added.rowcount and environment is not None:
                finished = datetime.now(UTC).isoformat(timespec="seconds")
                connection.execute("INSERT INTO origin VALUES (?, ?, ?, ?, ?)", (*cell.key, environment, finished))
            connection.execute("DELETE FROM fault WHERE target = ? AND sparsity = ? AND pruner = ?", cell.key)

    def add_environment(self, name: str, record: Mapping[str, Any]) -> None:
        """File what numbers are measured with, under its id, once."""
        with self.transaction() as connection:
            row = (name, json.dumps(dict(record), sort_keys=True))
            connection.execute("INSERT INTO environment VALUES (?, ?) ON CONFLICT DO NOTHING", row)

    def environments(self) -> dict[str, dict[str, Any]]:
        """Everything that numbers were measured with, by id."""
        with self.reading():
            rows = self.connection.execute("SELECT id, record FROM environment ORDER BY id")
            return {name: dict(json.loads(record)) for name, record in rows}

    def origins(self) -> dict[tuple[str, str, str], Origin]:
        """Where the scores come from, by target, sparsity and pruner; of those of which it was recorded."""
        with self.reading():
            rows = self.connection.execute("SELECT target, sparsity, pruner, environment, finished FROM origin")
            return {(target, sparsity, pruner): Origin(*rest) for target, sparsity, pruner, *rest in rows}

    def faults(self) -> list[CellFault]:
        """The cells that met a fault and have no score yet, in plan order."""
        with self.reading():
            rows = self.connection.execute(
                "SELECT target, sparsity, pruner, status, message, attempts"
                " FROM fault JOIN cell USING (target, sparsity, pruner) ORDER BY position"
            )
            return [CellFault(*row) for row in rows]

    def add_faults(self, cells: Iterable[Cell], status: str, message: str) -> None:
        """File a fault of the harness at cells without a score."""
        with self.transaction() as connection:
            connection.executemany(
                "INSERT INTO fault SELECT target, sparsity, pruner, ?, ?, 1 FROM cell"
                " WHERE target = ? AND sparsity = ? AND pruner = ?"
                " AND NOT EXISTS (SELECT 1 FROM score WHERE score.target = cell.target"
                " AND score.sparsity = cell.sparsity AND score.pruner = cell.pruner)"
                " ON CONFLICT DO UPDATE SET status = excluded.status, message = excluded.message,"
                " attempts = attempts + 1",
                [(status, message, *cell.key) for cell in cells],
            )

    def set_aside(self, cells: Iterable[Cell], status: str, message: str) -> None:
        """Turn the scores of cells into faults: they are not to be believed, and are measured again."""
        listed = list(cells)
        with self.transaction() as connection:
            for table in ("zeros", "origin", "score"):
                connection.executemany(
                    f"DELETE FROM {table} WHERE target = ? AND sparsity = ? AND pruner = ?",  # noqa: S608 - two names
                    [cell.key for cell in listed],
                )
        self.add_faults(listed, status, message)


def _measurement(record: str) -> Measurement:
    values = json.loads(record)
    return _MEASUREMENTS.validate_python(values)


def _score(record: str, losses: bytes | None) -> Score:
    values = json.loads(record)
    error = values.pop("error")
    for name in ("notes", "seed_perplexities"):
        values[name] = tuple(values.get(name, ()))  # records of earlier versions have none
    values |= {"error": error, "window_losses": None if losses is None else _unpack(losses)}
    score = _SCORES.validate_python(values)  # the file may be a stranger's
    _check_sparsity(score.sparsity)
    return score


@lru_cache(maxsize=1024)
def _check_sparsity(label: str) -> None:
    try:
        Sparsity.parse(label)
    except UsageError as error:
        raise ValueError(str(error)) from None


def _pack(losses: Sequence[float]) -> bytes:
    """Little-endian float64."""
    return struct.pack(f"<{len(losses)}d", *losses)


def _unpack(blob: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(blob) // 8}d", blob)
