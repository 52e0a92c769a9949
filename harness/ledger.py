"""The ledger of a study: every attempt that it promised, and every request and raw answer, in its results file.

The list of attempts is on file before the first request, with its hash, and does not change afterwards. A request is on
file before it is sent, an answer before it is read: whenever the process dies, nothing that was received is lost.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from harness.batch_ledger import BatchLedger
from harness.errors import StorageFault, UsageError
from harness.records import Exchange, Prompt
from harness.store import Store


@dataclass(frozen=True, slots=True)
class Attempt:
    """One question to one generator, once."""

    id: str
    """Of the candidate that its answer becomes: `<study>.<generator>/<idea>/<sample>`."""
    generator: str
    model: str
    prompt: Prompt

    @property
    def facts(self) -> dict[str, str]:
        """What is promised of it."""
        digest = hashlib.sha256(self.prompt.text.encode()).hexdigest()
        return {
            "id": self.id,
            "generator": self.generator,
            "model": self.model,
            "idea": self.prompt.idea.slug,
            "template": self.prompt.template,
            "prompt_sha256": digest,
        }


@dataclass(frozen=True, slots=True)
class Call:
    """One request of an attempt, and its answer if one came."""

    attempt: str
    sent: str
    """UTC, ISO 8601."""
    exchange: Exchange | None


def digest(attempts: Sequence[Attempt]) -> str:
    """SHA-256 of a list of attempts: their ids, models and prompts, in order."""
    return hashlib.sha256(json.dumps([attempt.facts for attempt in attempts]).encode()).hexdigest()


class Ledger:
    """The attempts and calls of one study; safe to use from several threads."""

    def __init__(self, store: Store) -> None:
        """`store` stays open as long as this is used."""
        self._store = store
        self._lock = threading.Lock()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep every other process from asking for this study while the block runs; its end, even a kill, lets go.

        Raises:
            UsageError: another process is asking.
            StorageFault: the folder of results cannot be written.
        """
        path = self._store.path.with_suffix(".asking")
        try:
            file = path.open("w")
        except OSError as error:
            raise StorageFault(f"{path}: {error.strerror or error}; give --results another folder") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"{path.parent}: another process is asking for this study: wait for it") from None
            yield

    @property
    def batches(self) -> BatchLedger:
        """Its part on batches."""
        return BatchLedger(self._store, self._lock)

    def promise(self, attempts: Sequence[Attempt]) -> None:
        """Put the list of attempts on file, or see that it is the one on file.

        Raises:
            UsageError: requests were made for another list.
        """
        now = digest(attempts)
        if self.promised() == now:
            return
        with self._lock, self._store.transaction() as connection:
            if connection.execute("SELECT 1 FROM call LIMIT 1").fetchone() is not None:
                raise UsageError(
                    f"{self._store.path}: requests were made for another list of attempts (other generators, ideas,"
                    " prompts or samples): give the study another name, or --results another folder"
                )
            connection.execute("DELETE FROM attempt")
            connection.execute("DELETE FROM promise")
            created = datetime.now(UTC).isoformat(timespec="seconds")
            connection.execute("INSERT INTO promise VALUES (1, ?, ?)", (now, created))
            rows = [(attempt.id, place, json.dumps(attempt.facts)) for place, attempt in enumerate(attempts)]
            connection.executemany("INSERT INTO attempt VALUES (?, ?, ?)", rows)

    def promised(self) -> str | None:
        """The hash of the list on file."""
        with self._lock, self._store.reading() as connection:
            row = connection.execute("SELECT sha256 FROM promise").fetchone()
            return None if row is None else str(row[0])

    def attempts(self) -> list[dict[str, str]]:
        """The facts of each promised attempt, in order."""
        with self._lock, self._store.reading() as connection:
            rows = connection.execute("SELECT facts FROM attempt ORDER BY position")
            return [dict(json.loads(facts)) for (facts,) in rows]

    def recorder(self, attempt: str) -> AttemptRecorder:
        """What keeps the calls of one attempt."""
        return AttemptRecorder(self, attempt)

    def calls(self) -> dict[str, list[Call]]:
        """All calls by attempt, in the order in which they were sent."""
        found: dict[str, list[Call]] = {}
        with self._lock, self._store.reading() as connection:
            rows = connection.execute(
                "SELECT attempt, sent, request, status, headers, response, seconds FROM call ORDER BY number"
            )
            for attempt, sent, request, status, headers, response, seconds in rows:
                exchange = None
                if status is not None:
                    exchange = Exchange(json.loads(request), status, json.loads(headers), response, seconds, sent)
                found.setdefault(attempt, []).append(Call(attempt, sent, exchange))
        return found

    def open(self, attempt: str, request: dict[str, Any]) -> int:
        """A request is about to be sent; the number of its call."""
        sent = datetime.now(UTC).isoformat(timespec="seconds")
        with self._lock, self._store.transaction() as connection:
            row = (attempt, sent, json.dumps(request))
            done = connection.execute("INSERT INTO call (attempt, sent, request) VALUES (?, ?, ?)", row)
            return int(done.lastrowid or 0)

    def close(self, number: int, exchange: Exchange) -> None:
        """The answer of a call."""
        row = (exchange.status, json.dumps(exchange.headers), exchange.content, exchange.seconds, number)
        with self._lock, self._store.transaction() as connection:
            connection.execute(
                "UPDATE call SET status = ?, headers = ?, response = ?, seconds = ? WHERE number = ?", row
            )


class AttemptRecorder:
    """As `harness.records.Recorder`: into the ledger."""

    def __init__(self, ledger: Ledger, attempt: str) -> None:
        self._ledger = ledger
        self._attempt = attempt
        self._number = 0

    def sent(self, request: dict[str, Any]) -> None:
        """As the protocol says."""
        self._number = self._ledger.open(self._attempt, request)

    def received(self, exchange: Exchange) -> None:
        """As the protocol says."""
        self._ledger.close(self._number, exchange)
