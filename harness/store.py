"""The results of one study in one SQLite file: the plan, the scores, the faults, the measurement protocols.

Every change is one transaction, so a process may die at any time and two may write at once. A cell has one score:
the first one stays. Faults of the harness stand in a table of their own and never take a score's place.
"""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import TypeAdapter

from harness.errors import StorageFault
from harness.records import Measurement, Score, Zeros

_VERSION = 5
_APPLICATION_ID = 0x5052_554E  # "PRUN": tells a file of ours from any other program's
_BUSY_SECONDS = 30.0

_ZEROS = (
    "CREATE TABLE zeros (target TEXT NOT NULL, sparsity TEXT NOT NULL, pruner TEXT NOT NULL,"
    " fractions BLOB NOT NULL, sample BLOB NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY (target, sparsity, pruner),"
    " FOREIGN KEY (target, sparsity, pruner) REFERENCES score)"
)
_ENVIRONMENT = "CREATE TABLE environment (id TEXT PRIMARY KEY, record TEXT NOT NULL)"
_ORIGIN = (
    "CREATE TABLE origin (target TEXT NOT NULL, sparsity TEXT NOT NULL, pruner TEXT NOT NULL,"
    " environment TEXT NOT NULL REFERENCES environment, finished TEXT NOT NULL,"
    " PRIMARY KEY (target, sparsity, pruner), FOREIGN KEY (target, sparsity, pruner) REFERENCES score)"
)
_LEDGER = (
    "CREATE TABLE promise (one INTEGER PRIMARY KEY CHECK (one = 1), sha256 TEXT NOT NULL, created TEXT NOT NULL)",
    "CREATE TABLE attempt (id TEXT PRIMARY KEY, position INTEGER NOT NULL, facts TEXT NOT NULL)",
    "CREATE TABLE call (number INTEGER PRIMARY KEY, attempt TEXT NOT NULL REFERENCES attempt, sent TEXT NOT NULL,"
    " request TEXT NOT NULL, status INTEGER, headers TEXT, response BLOB, seconds REAL)",
)
_BATCHES = (
    "CREATE TABLE batch (number INTEGER PRIMARY KEY, generator TEXT NOT NULL, url TEXT NOT NULL, api TEXT NOT NULL,"
    " mark TEXT NOT NULL, created TEXT NOT NULL, input_file TEXT, id TEXT, ended TEXT)",
    "CREATE TABLE batch_call (call INTEGER PRIMARY KEY REFERENCES call, batch INTEGER NOT NULL REFERENCES batch)",
    "CREATE TABLE batch_line (batch INTEGER NOT NULL REFERENCES batch, file TEXT NOT NULL, position INTEGER NOT NULL,"
    " line BLOB NOT NULL, PRIMARY KEY (batch, file, position))",
)
SCHEMA = (
    "CREATE TABLE study (one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL, text TEXT NOT NULL,"
    " text_sha256 TEXT NOT NULL, settings TEXT NOT NULL, rank_isolation TEXT NOT NULL)",
    "CREATE TABLE cell (target TEXT NOT NULL, sparsity TEXT NOT NULL, pruner TEXT NOT NULL,"
    " source_sha256 TEXT, position INTEGER NOT NULL, PRIMARY KEY (target, sparsity, pruner))",
    "CREATE TABLE score (target TEXT NOT NULL, sparsity TEXT NOT NULL, pruner TEXT NOT NULL,"
    " status TEXT NOT NULL, record TEXT NOT NULL, window_losses BLOB, PRIMARY KEY (target, sparsity, pruner),"
    " FOREIGN KEY (target, sparsity, pruner) REFERENCES cell)",
    "CREATE TABLE fault (target TEXT NOT NULL, sparsity TEXT NOT NULL, pruner TEXT NOT NULL,"
    " status TEXT NOT NULL, message TEXT NOT NULL, attempts INTEGER NOT NULL,"
    " PRIMARY KEY (target, sparsity, pruner),"
    " FOREIGN KEY (target, sparsity, pruner) REFERENCES cell ON DELETE CASCADE)",
    "CREATE TABLE measurement (target TEXT PRIMARY KEY, record TEXT NOT NULL, dense_losses BLOB NOT NULL)",
    _ZEROS,
    _ENVIRONMENT,
    _ORIGIN,
    *_LEDGER,
    *_BATCHES,
)
"""What makes the tables, word for word as SQLite keeps it."""

_UPGRADES = {1: (_ZEROS,), 2: (_ENVIRONMENT, _ORIGIN), 3: _LEDGER, 4: _BATCHES}
"""What a file of an earlier version lacks."""


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


class Store:
    """The results file of one study; a context manager. Every method raises StorageFault on an unusable file."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Open the file, and make it and its folder when missing and `create`."""
        self.path = path
        with self._faults():
            if create:
                path.parent.mkdir(parents=True, exist_ok=True)
            mode = "rwc" if create else "rw"
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,  # the ledger writes from several, one at a time
            )
        try:
            self._prepare(create)
        except StorageFault:
            self._connection.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def plan(self) -> Plan | None:
        """The plan on file; None before the first `save_plan`."""
        with self.reading():
            row = self._connection.execute("SELECT name, text, settings, rank_isolation FROM study").fetchone()
            if row is None:
                return None
            cells = self._connection.execute(
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
            rows = self._connection.execute("SELECT target, record FROM measurement ORDER BY target")
            return {target: _measurement(record) for target, record in rows}

    def dense_losses(self, target: str) -> tuple[float, ...] | None:
        """The dense model's window losses on a target; None when it was never opened."""
        with self.reading():
            row = self._connection.execute("SELECT dense_losses FROM measurement WHERE target = ?", (target,))
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
            rows = self._connection.execute(
                "SELECT record, window_losses FROM score JOIN cell USING (target, sparsity, pruner) ORDER BY position"
            )
            return [_score(record, losses) for record, losses in rows]

    def zeros(self) -> dict[tuple[str, str, str], Zeros]:
        """Where the zeros of each scored model are, by target, sparsity and pruner; of those that were recorded."""
        with self.reading():
            rows = self._connection.execute("SELECT target, sparsity, pruner, fractions, sample, sha256 FROM zeros")
            return {
                (target, sparsity, pruner): Zeros(struct.unpack(f"<{len(blob) // 4}f", blob), sample, digest)
                for target, sparsity, pruner, blob, sample, digest in rows
            }

    def scored(self) -> set[tuple[str, str, str]]:
        """Target, sparsity and pruner of each cell that is done; no score is read for it."""
        with self._faults():
            return set(self._connection.execute("SELECT target, sparsity, pruner FROM score"))

    def isolations(self) -> set[str]:
        """The isolation of every score."""
        with self._faults():
            rows = self._connection.execute("SELECT DISTINCT json_extract(record, '$.isolation') FROM score")
            return {str(isolation) for (isolation,) in rows}

    def has_score(self, cell: Cell) -> bool:
        """Whether the cell is done."""
        with self._faults():
            found = self._connection.execute(
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
            rows = self._connection.execute("SELECT id, record FROM environment ORDER BY id")
            return {name: dict(json.loads(record)) for name, record in rows}

    def origins(self) -> dict[tuple[str, str, str], Origin]:
        """Where the scores come from, by target, sparsity and pruner; of those of which it was recorded."""
        with self.reading():
            rows = self._connection.execute("SELECT target, sparsity, pruner, environment, finished FROM origin")
            return {(target, sparsity, pruner): Origin(*rest) for target, sparsity, pruner, *rest in rows}

    def faults(self) -> list[CellFault]:
        """The cells that met a fault and have no score yet, in plan order."""
        with self._faults():
            rows = self._connection.execute(
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

    def _prepare(self, create: bool) -> None:
        with self._faults():
            self._connection.execute("PRAGMA foreign_keys = ON")
            application, version = self._stamp()
            if (application, version) == (0, 0) and create:
                with self.transaction() as connection:
                    # asked again under the lock: another process may have been first
                    if self._stamp() == (0, 0) and not self._tables():
                        for statement in SCHEMA:
                            connection.execute(statement)
                        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                        connection.execute(f"PRAGMA user_version = {_VERSION}")
                application, version = self._stamp()
            if application == _APPLICATION_ID and version in _UPGRADES:
                version = self._upgraded(version)
        if application != _APPLICATION_ID:
            raise StorageFault(f"{self.path}: not a results file of this harness; give --results another folder")
        if version != _VERSION:
            raise StorageFault(
                f"{self.path}: a results file of version {version}, this harness reads version {_VERSION};"
                " give --results another folder, or use the harness that wrote it"
            )

    def _upgraded(self, version: int) -> int:
        """Bring a file of an earlier version to this one; another process may have been first."""
        with self.transaction() as connection:
            while (version := self._stamp()[1]) in _UPGRADES:
                for statement in _UPGRADES[version]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version + 1}")
        return version

    def _stamp(self) -> tuple[int, int]:
        application = self._connection.execute("PRAGMA application_id").fetchone()[0]
        return application, self._connection.execute("PRAGMA user_version").fetchone()[0]

    def _tables(self) -> bool:
        return self._connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is not None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the block or nothing of it; the lock is taken at once, so that it cannot fail midway."""
        with self._faults():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StorageFault(f"{self.path}: {_advice(error)}") from error

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """What cannot be read in the block is a fault of the file."""
        try:
            with self._faults():
                yield self._connection
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, struct.error) as error:
            raise StorageFault(
                f"{self.path}: a record in it cannot be read ({' '.join(str(error).split())[:300]});"
                " give --results another folder"
            ) from error


def _advice(error: Exception) -> str:
    text = str(error).replace("\n", " ")
    if "full" in text or "No space left" in text:
        return "the disk is full; make room and run the same command again, nothing recorded is lost"
    if "locked" in text:
        return f"another process has held it for {_BUSY_SECONDS:g} s; run the same command again when that has ended"
    if "readonly" in text or "Permission denied" in text:
        return f"cannot be written ({text}); give --results a folder that you may write"
    return f"cannot be used as a results file ({text}); give --results another folder"


def _measurement(record: str) -> Measurement:
    values = json.loads(record)
    return _MEASUREMENTS.validate_python(values)


def _score(record: str, losses: bytes | None) -> Score:
    values = json.loads(record)
    error = values.pop("error")
    for name in ("notes", "seed_perplexities"):
        values[name] = tuple(values.get(name, ()))  # records of earlier versions have none
    values |= {"error": error, "window_losses": None if losses is None else _unpack(losses)}
    return _SCORES.validate_python(values)  # the file may be a stranger's


def _pack(losses: Sequence[float]) -> bytes:
    """Little-endian float64."""
    return struct.pack(f"<{len(losses)}d", *losses)


def _unpack(blob: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(blob) // 8}d", blob)
