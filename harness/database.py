"""A results file as SQLite keeps it: its tables, its version, and how it is opened, read and written.

Every change is one transaction, so a process may die at any time and two may write at once.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.errors import StorageFault

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


class Database:
    """A results file that is open; a context manager. Every method raises StorageFault on an unusable file."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Open the file, and make it and its folder when missing and `create`.

        Raises:
            StorageFault: it is another program's, of a newer harness, damaged, or not to be opened.
        """
        self.path = path
        with self._faults():
            if create:
                path.parent.mkdir(parents=True, exist_ok=True)
            mode = "rwc" if create else "rw"
            self.connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,  # the ledger writes from several, one at a time
            )
        try:
            self._prepare(create)
        except StorageFault:
            self.connection.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self, create: bool) -> None:
        with self._faults():
            self.connection.execute("PRAGMA foreign_keys = ON")
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
        application = self.connection.execute("PRAGMA application_id").fetchone()[0]
        return application, self.connection.execute("PRAGMA user_version").fetchone()[0]

    def _tables(self) -> bool:
        return self.connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is not None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the block or nothing of it; the lock is taken at once, so that it cannot fail midway."""
        with self._faults():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            finally:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")

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
                yield self.connection
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
