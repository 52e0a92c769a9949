"""The batches of a study in its results file: what each was made of, its id, and every line that came back.

A batch and its requests are on file before anything is sent, the id of its file before it is submitted, its own id as
soon as the endpoint gives it, and its lines before they are read. Its answers and its end are one transaction.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from harness.records import Exchange
from harness.store import Store

_COLUMNS = "number, generator, url, api, mark, created, input_file, id"


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch that has not ended, as far as it is known here."""

    number: int
    generator: str
    url: str
    """Base URL of its endpoint."""
    api: str
    mark: str
    """Its own, in its metadata at the endpoint."""
    created: str
    """UTC, ISO 8601; before anything of it was sent."""
    input_file: str | None
    """The file of its requests at the endpoint; None before that is there, and so before the batch can be."""
    id: str | None
    """At the endpoint; None as long as that did not say."""


class BatchLedger:
    """The batches of one study, by its `harness.ledger.Ledger`."""

    def __init__(self, store: Store, lock: threading.Lock) -> None:
        self._store = store
        self._lock = lock

    def running(self) -> list[Batch]:
        """Those that have not ended, or were not submitted yet, in order."""
        with self._lock, self._store.reading() as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM batch WHERE ended IS NULL ORDER BY number")  # noqa: S608
            return [Batch(*row) for row in rows]

    def open(self, generator: str, url: str, api: str, requests: Sequence[tuple[str, dict[str, Any]]]) -> Batch:
        """A batch is about to be made of `requests`, each with the id of its attempt."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        mark = uuid.uuid4().hex
        with self._lock, self._store.transaction() as connection:
            row = (generator, url, api, mark, now)
            columns = "generator, url, api, mark, created"
            done = connection.execute(f"INSERT INTO batch ({columns}) VALUES (?, ?, ?, ?, ?)", row)  # noqa: S608
            number = int(done.lastrowid or 0)
            for attempt, request in requests:
                call = (attempt, now, json.dumps(request))
                made = connection.execute("INSERT INTO call (attempt, sent, request) VALUES (?, ?, ?)", call)
                connection.execute("INSERT INTO batch_call VALUES (?, ?)", (made.lastrowid, number))
        return Batch(number, *row, None, None)

    def requests(self, batch: Batch) -> dict[str, tuple[int, dict[str, Any]]]:
        """What it is made of, by attempt: the number of the call, and the request."""
        with self._lock, self._store.reading() as connection:
            rows = connection.execute(
                "SELECT attempt, call, request FROM batch_call JOIN call ON number = call WHERE batch = ?"
                " ORDER BY call",
                (batch.number,),
            )
            return {attempt: (call, json.loads(request)) for attempt, call, request in rows}

    def uploaded(self, batch: Batch, file: str) -> None:
        """Its requests are at the endpoint, as this file."""
        self._set(batch, "input_file", file)

    def submitted(self, batch: Batch, name: str) -> None:
        """It is at the endpoint, under this id."""
        self._set(batch, "id", name)

    def keep(self, batch: Batch, file: str, lines: Iterable[bytes]) -> None:
        """The lines of a file of answers, as they came; those that are there stay."""
        with self._lock, self._store.transaction() as connection:
            connection.executemany(
                "INSERT INTO batch_line VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                ((batch.number, file, position, line) for position, line in enumerate(lines)),
            )

    def lines(self, batch: Batch) -> list[bytes]:
        """All lines that came back, in the order in which they were filed."""
        with self._lock, self._store.reading() as connection:
            rows = connection.execute("SELECT line FROM batch_line WHERE batch = ? ORDER BY rowid", (batch.number,))
            return [bytes(line) for (line,) in rows]

    def end(self, batch: Batch, how: str, answers: Iterable[tuple[int, Exchange]] = ()) -> None:
        """It has ended, with these answers by the number of the call; of two to one call, the first stays."""
        with self._lock, self._store.transaction() as connection:
            connection.executemany(
                "UPDATE call SET status = ?, headers = ?, response = ?, seconds = ?"
                " WHERE number = ? AND status IS NULL",
                ((one.status, json.dumps(one.headers), one.content, one.seconds, call) for call, one in answers),
            )
            connection.execute("UPDATE batch SET ended = ? WHERE number = ?", (how, batch.number))

    def _set(self, batch: Batch, column: str, value: str) -> None:
        with self._lock, self._store.transaction() as connection:
            connection.execute(f"UPDATE batch SET {column} = ? WHERE number = ?", (value, batch.number))  # noqa: S608
