"""Attempts that are asked all at once, by the batch API of an endpoint, and answered within a day.

What was submitted runs on at the endpoint whatever happens here. A later run finds it: by its id, or where that did not
arrive, by a mark that is on file before the batch is and that the endpoint keeps with it.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, cast

from harness import batch_lines, console
from harness.batch_endpoint import BatchEndpoint, NotAcceptedFault, State, UnknownFault
from harness.batch_ledger import Batch
from harness.endpoints import find
from harness.errors import EndpointFault
from harness.expectation import Expectation, expect
from harness.gates import Budget
from harness.ledger import Attempt, Call, Ledger
from harness.prices import Price
from harness.records import Completion, Exchange
from harness.settling import read
from harness.stages.completion import Api, explained, not_taken
from harness.study import Study, StudyGenerator

POLL_SECONDS = (5.0, 60.0)
"""The first pause between two looks at a batch, and the longest; each is half as long again as the one before."""
SUBMISSIONS = 5
"""How often a batch is submitted that an endpoint does not take for now."""
_PATIENCE = {True: 30, False: 3}
"""Looks in a row that fail until a run leaves a batch alone, by whether the faults may pass."""
_CLOCKS_SECONDS = 24 * 3600.0
"""By which the clocks of this machine and of an endpoint may differ."""
_KEPT_SECONDS = 30 * 24 * 3600.0
"""After which an endpoint may have forgotten a batch."""

Result = tuple[Attempt, Completion | EndpointFault]


@dataclass
class _Flight:
    """A batch that is on its way."""

    batch: Batch
    endpoint: BatchEndpoint
    attempts: list[Attempt]
    """Of it, those that wait for an answer."""
    dollars: float
    """That it is expected to cost."""
    failed: int = 0
    seen: str = ""
    began: float = field(default_factory=time.monotonic)

    @property
    def name(self) -> str:
        return f"batch {console.plain(self.batch.id or '', 80)} at {self.batch.url}"


class Batches:
    """All batches of a study; a context manager."""

    def __init__(
        self,
        study: Study,
        attempts: Sequence[Attempt],
        calls: Mapping[str, list[Call]],
        ledger: Ledger,
        budget: Budget,
        at: Mapping[str, Price | None],
    ) -> None:
        """`attempts` and `calls` are all those of the study, `at` the price of each generator by its label."""
        self._generators = {generator.label: generator for generator in study.generators}
        self._all = {
            label: [attempt for attempt in attempts if attempt.generator == label] for label in self._generators
        }
        self._calls = calls
        self._ledger = ledger
        self._budget = budget
        self._at = at
        self._expected: dict[str, Expectation] = {}
        self._endpoints: dict[str, BatchEndpoint] = {}
        self._stack = ExitStack()
        self._flights: list[_Flight] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def resume(self, waiting: Sequence[Attempt]) -> list[Attempt]:
        """Go on with the batches on file; those of `waiting` that are in none of them.

        Raises:
            UsageError: a key is missing.
        """
        flying: set[str] = set()
        for batch in self._ledger.batches.running():
            if batch.input_file is None:  # nothing of it was sent, and by now it may be asked for in another way
                self._ledger.batches.end(batch, "not submitted")
                continue
            inside = self._ledger.batches.requests(batch).keys()
            self._fly(batch, [attempt for attempt in waiting if attempt.id in inside])
            flying |= inside
        return [attempt for attempt in waiting if attempt.id not in flying]

    def add(self, generator: StudyGenerator, waiting: Sequence[Attempt]) -> list[Attempt]:
        """Put a new batch on file, or several where it would be too large; the attempts that there is no money for.

        Nothing of a batch can be stopped, so what all of it is expected to cost must be left.

        Raises:
            UsageError: a key is missing, or the base URL is none.
        """
        affordable = waiting[: self._affordable(generator, len(waiting))]
        url = find(generator.endpoint).base_url
        self._endpoint(url, generator)
        asked = batch_lines.requests(generator, url, affordable, self._unsupported(generator))
        for part in batch_lines.parts(asked, generator.api):
            inside = {attempt for attempt, _ in part}
            batch = self._ledger.batches.open(generator.label, url, generator.api, part)
            self._fly(batch, [attempt for attempt in affordable if attempt.id in inside])
        return list(waiting[len(affordable) :])

    def submit(self) -> Iterator[Result]:
        """Send what is not at its endpoint yet; the attempts of batches that did not come to be, and why."""
        for flight in list(self._flights):
            try:
                if flight.batch.id is None:
                    self._submit(flight)
            except EndpointFault as fault:
                yield from self._dropped(flight, fault)

    def results(self) -> Iterator[Result]:
        """Wait for all batches, and give what became of each attempt; all that came back is on file before."""
        pause, longest = POLL_SECONDS
        while self._flights:
            for flight in list(self._flights):
                yield from self._look(flight)
            if self._flights:
                time.sleep(pause)
                pause = min(longest, 1.5 * pause)

    def _fly(self, batch: Batch, attempts: list[Attempt]) -> None:
        generator = self._generators[batch.generator]
        dollars = self._dollars(generator, len(attempts))
        self._budget.reserve(dollars)
        self._flights.append(_Flight(batch, self._endpoint(batch.url, generator), attempts, dollars))

    def _endpoint(self, url: str, generator: StudyGenerator) -> BatchEndpoint:
        if url not in self._endpoints:
            self._endpoints[url] = self._stack.enter_context(BatchEndpoint(url, generator.timeout))
        return self._endpoints[url]

    def _dollars(self, generator: StudyGenerator, attempts: int) -> float:
        """What so many attempts are expected to cost; 0 where that is not known."""
        label = generator.label
        if label not in self._expected:
            self._expected[label] = expect(generator, self._all[label], self._calls)
        at = self._at[label]
        return self._expected[label].dollars(attempts, at and at.batched) or 0.0

    def _affordable(self, generator: StudyGenerator, attempts: int) -> int:
        numbers = range(1, attempts + 1)
        return bisect_right(numbers, self._budget.rest() + 1e-9, key=lambda number: self._dollars(generator, number))

    def _unsupported(self, generator: StudyGenerator) -> set[str]:
        """Options that the endpoint has said in earlier answers it does not take."""
        exchanges = (call.exchange for one in self._all[generator.label] for call in self._calls.get(one.id, []))
        return {option for exchange in exchanges if exchange is not None and (option := not_taken(exchange))}

    def _submit(self, flight: _Flight) -> None:
        """Make it a batch of the endpoint: the one that is there already, if one is."""
        maybe_there = flight.batch.input_file is not None  # an earlier run may have submitted it, and died
        for turn in range(SUBMISSIONS):
            try:
                state = self._found(flight) if maybe_there else None
                if state is None:
                    state = self._sent(flight)
            except EndpointFault as fault:
                refused = isinstance(fault, NotAcceptedFault) and not (maybe_there and fault.passing)
                last = not fault.passing or turn == SUBMISSIONS - 1
                if last and (flight.batch.input_file is None or refused):
                    self._ledger.batches.end(flight.batch, "not submitted")
                if last:
                    raise
                maybe_there |= flight.batch.input_file is not None and not isinstance(fault, NotAcceptedFault)
                time.sleep(min(POLL_SECONDS[1], POLL_SECONDS[0] * 2**turn))
            else:
                self._ledger.batches.submitted(flight.batch, state.id)
                flight.batch = replace(flight.batch, id=state.id)
                console.notice(f"{flight.name}: {len(flight.attempts)} attempts")
                return

    def _found(self, flight: _Flight) -> State | None:
        created = datetime.fromisoformat(flight.batch.created).timestamp()
        return flight.endpoint.find(self._metadata(flight.batch), created - _CLOCKS_SECONDS)

    def _sent(self, flight: _Flight) -> State:
        batch, api = flight.batch, cast(Api, flight.batch.api)
        if batch.input_file is None:
            asked = self._ledger.batches.requests(batch).values()
            content = b"".join(batch_lines.line(request, api) for _, request in asked)
            file = flight.endpoint.upload(f"{batch.mark}.jsonl", content)
            self._ledger.batches.uploaded(batch, file)
            flight.batch = batch = replace(batch, input_file=file)
        return flight.endpoint.submit(batch.input_file or "", api, self._metadata(batch))

    def _metadata(self, batch: Batch) -> dict[str, str]:
        """By which a batch is known again: of which study it is, and which of its batches."""
        return {"harness_promise": self._ledger.promised() or "", "harness_batch": batch.mark}

    def _look(self, flight: _Flight) -> Iterator[Result]:
        """What became of the attempts of a batch, if that has ended."""
        try:
            state = flight.endpoint.state(flight.batch.id or "")
            if not state.ended:
                flight.failed = 0
                _tell(flight, state)
                return
            for file in state.files:
                self._ledger.batches.keep(flight.batch, file, flight.endpoint.lines(file))
        except EndpointFault as fault:
            flight.failed += 1
            if flight.failed < _PATIENCE[fault.passing]:
                return
            if isinstance(fault, UnknownFault) and _age_seconds(flight.batch) > _KEPT_SECONDS:
                self._ledger.batches.end(flight.batch, "forgotten")
            yield from self._dropped(flight, fault)
            return
        _tell(flight, state)
        yield from self._ended(flight, state)

    def _dropped(self, flight: _Flight, fault: EndpointFault) -> Iterator[Result]:
        """Leave a batch alone for this run."""
        self._land(flight)
        yield from ((attempt, fault) for attempt in flight.attempts)

    def _land(self, flight: _Flight) -> None:
        self._flights.remove(flight)
        self._budget.reserve(-flight.dollars)

    def _ended(self, flight: _Flight, state: State) -> Iterator[Result]:
        """What came back of a batch, which is all on file; that it has ended is filed with its answers."""
        asked = self._ledger.batches.requests(flight.batch)
        seconds = time.monotonic() - flight.began if state.seconds is None else state.seconds
        bodies: dict[str, dict[str, Any]] = {attempt: request for attempt, (_, request) in asked.items()}
        found = batch_lines.returned(self._ledger.batches.lines(flight.batch), bodies, seconds, flight.batch.created)
        answers = ((asked[attempt][0], exchange) for attempt, exchange in found.answers.items())
        self._ledger.batches.end(flight.batch, state.status, answers)
        self._land(flight)
        if found.unreadable:
            console.notice(f"{flight.name}: {found.unreadable} lines of its answers cannot be read; they are kept")
        for attempt in flight.attempts:
            exchange = found.answers.get(attempt.id)
            answer = exchange and read(attempt.model, exchange)
            yield attempt, answer or _fault(flight, state, exchange, found.reasons.get(attempt.id), attempt.model)


def _fault(flight: _Flight, state: State, exchange: Exchange | None, reason: str | None, model: str) -> EndpointFault:
    """Why an attempt of a batch has no answer."""
    again = "run the same command to ask again"
    if exchange is None:
        said = reason or state.said or "it has no answer to this attempt"
        return EndpointFault(f"{flight.name} is {state.status}: {said}; {again}", passing=True)
    if (option := not_taken(exchange)) is not None:
        said = f"{flight.batch.url}: model {model[:80]!r} does not take {option}: {again}, without it"
        return EndpointFault(said, passing=True)
    if exchange.status == 200:
        return EndpointFault(f"{flight.name} has an answer that is none of a model; {again}", passing=True)
    error = batch_lines.content(exchange)
    asked = f"model {model[:80]!r} in a batch"
    return EndpointFault(explained(exchange.status, error, flight.endpoint.endpoint, asked), passing=True)


def _tell(flight: _Flight, state: State) -> None:
    """A line on the state of a batch, once for each state."""
    if state.status != flight.seen:
        flight.seen = state.status
        console.notice(f"{flight.name} is {state.status}" + (f", {state.counts}" if state.counts else ""))


def _age_seconds(batch: Batch) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(batch.created)).total_seconds()
