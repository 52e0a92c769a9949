"""The first half of a study: every attempt that it promised is asked once, and its answer archived.

No code, a refusal and a truncated answer are answers like any other: nothing is asked again for them. What failed to
answer, because of the endpoint, is asked by the next run of the study.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from harness import archive, console
from harness.batches import Batches
from harness.errors import EndpointFault, Fault, UsageError
from harness.gates import Budget, Gate
from harness.generation import Generator, reachable
from harness.ledger import Attempt, AttemptRecorder, Call, Ledger
from harness.prices import Price
from harness.records import Completion, Exchange
from harness.settling import dollars_of, keep, prices, read, received
from harness.study import Study, StudyGenerator

ARCHIVE = Path("generated")
RETRIES = 4
"""How often one request is repeated after a limit, a failure of the server or a lost connection."""
_TURNS = 3
"""How often an endpoint may answer what is no answer."""
_IN_A_ROW = 5
"""Attempts that fail one after another until a generator is given up for this run."""
_PAUSE_SECONDS = 1.0


@dataclass
class Asked:
    """What became of the attempts of a study in this run."""

    answered: int = 0
    """By now, in this and in earlier runs."""
    faults: dict[str, Fault] = field(default_factory=dict)
    """By attempt: why it was not answered."""
    unasked: list[str] = field(default_factory=list)
    """For which there was no money left, or not enough to be sure."""
    spent: float = 0.0
    """US dollars, in all runs, as far as prices are known."""


def ask(study: Study, attempts: Sequence[Attempt], ledger: Ledger, root: Path = ARCHIVE) -> Asked:
    """Ask what was never answered, and archive every answer under `root`.

    Raises:
        UsageError: another list of attempts was promised, another process is asking, the archive has an answer to
            another prompt under an attempt's id, or a key or a price is missing.
        StorageFault: an answer cannot be kept.
    """
    at = prices(study)
    ledger.promise(attempts)
    with ledger.alone():
        calls = ledger.calls()
        asked = Asked(spent=_spent(attempts, calls, at))
        waiting = _settled(attempts, calls, at, root, asked)
        if waiting or ledger.batches.running():
            archive.check_writable(root)
            budget = Budget(study.max_cost, asked.spent)
            with Batches(study, attempts, calls, ledger, budget, at) as batches:
                _ask_all(study, waiting, ledger, at, root, asked, batches, budget)
    return asked


def _spent(attempts: Sequence[Attempt], calls: Mapping[str, list[Call]], at: Mapping[str, Price | None]) -> float:
    """US dollars that the answers on file cost, as far as prices are known."""
    total = 0.0
    for attempt in attempts:
        for call in calls.get(attempt.id, []):
            if call.exchange is not None and (answer := read(attempt.model, call.exchange)) is not None:
                total += dollars_of(answer, at[attempt.generator])[0] or 0.0
    return total


def _settled(
    attempts: Sequence[Attempt],
    calls: dict[str, list[Call]],
    at: dict[str, Price | None],
    root: Path,
    asked: Asked,
) -> list[Attempt]:
    """The attempts without an answer; what was received and not archived is archived."""
    archived = archive.candidates([root])
    waiting = []
    for attempt in attempts:
        if attempt.id in archived:
            _check_archived(attempt, archived[attempt.id])
        elif (answer := received(attempt.model, calls.get(attempt.id, []))) is not None:
            keep(attempt, answer, at[attempt.generator], root)
        else:
            waiting.append(attempt)
            continue
        asked.answered += 1
    return waiting


def _check_archived(attempt: Attempt, folder: Path) -> None:
    if archive.read_manifest(folder)["files"].get("prompt.md") != attempt.facts["prompt_sha256"]:
        raise UsageError(f"{folder} answers another prompt: give the study another name, or move that folder away")


def _ask_all(
    study: Study,
    waiting: Sequence[Attempt],
    ledger: Ledger,
    at: dict[str, Price | None],
    root: Path,
    asked: Asked,
    batches: Batches,
    budget: Budget,
) -> None:
    """Submit batches, ask directly what is in none, and then wait for the batches."""
    with ExitStack() as stack, console.progress(f"asking for {study.name}", len(waiting)) as task:
        try:
            left = _submit(study, waiting, batches, asked, task)
            running: dict[Future[None], Attempt] = {}
            for generator in study.generators:
                mine = [attempt for attempt in left if attempt.generator == generator.label]
                if not mine:
                    continue
                reached = stack.enter_context(reachable(_generator(generator)))
                asker = Asker(reached, generator, ledger, budget, at[generator.label], root)
                pool = stack.enter_context(ThreadPoolExecutor(generator.concurrency))
                running |= {pool.submit(asker.ask, attempt): attempt for attempt in mine}
            _gather(running, asked, task)
            for attempt, result in batches.results():
                if not isinstance(result, EndpointFault):
                    price = at[attempt.generator]
                    budget.add(dollars_of(result, price, budget.limited)[0])
                    keep(attempt, result, price, root)
                _note(attempt, result, asked, task)
        finally:
            asked.spent = budget.spent


def _submit(
    study: Study, waiting: Sequence[Attempt], batches: Batches, asked: Asked, task: console.Task
) -> list[Attempt]:
    """Submit all batches; what is to be asked directly."""
    left = batches.resume(waiting)
    direct = []
    for generator in study.generators:
        mine = [attempt for attempt in left if attempt.generator == generator.label]
        if generator.batch and mine:
            for attempt in batches.add(generator, mine):
                asked.unasked.append(attempt.id)
                task.advance()
        else:
            direct += mine
    for attempt, result in batches.submit():
        _note(attempt, result, asked, task)
    return direct


def _note(attempt: Attempt, result: Completion | EndpointFault, asked: Asked, task: console.Task) -> None:
    """Count what became of an attempt of a batch; a fault that many have in a row is told once."""
    if isinstance(result, EndpointFault):
        before = next(reversed(asked.faults.values()), None)
        if str(result) != str(before):
            console.notice(console.plain(f"{attempt.id}: {result.status}: {result}").replace("\n", " "))
        asked.faults[attempt.id] = result
    else:
        asked.answered += 1
    task.advance()


def _gather(running: Mapping[Future[None], Attempt], asked: Asked, task: console.Task) -> None:
    try:
        for future in as_completed(running):
            attempt = running[future]
            try:
                future.result()
            except NoMoneyError:
                asked.unasked.append(attempt.id)
            except EndpointFault as fault:
                asked.faults[attempt.id] = fault
                console.notice(console.plain(f"{attempt.id}: {fault.status}: {fault}").replace("\n", " "))
            else:
                asked.answered += 1
            task.advance()
    except BaseException:
        for future in running:
            future.cancel()
        if left := sum(not future.done() for future in running):
            console.notice(f"waiting for {left} answers that are on their way; Ctrl-C leaves them")
        raise


class NoMoneyError(Exception):
    """The cost has reached its limit."""


class Asker:
    """Asks one generator, from several threads."""

    def __init__(
        self,
        reached: Generator,
        generator: StudyGenerator,
        ledger: Ledger,
        budget: Budget,
        at: Price | None,
        root: Path,
    ) -> None:
        self._generator = reached
        self._gate = Gate(generator.concurrency)
        self._ledger = ledger
        self._budget = budget
        self._price = at
        self._root = root
        self._unsupported: set[str] = set()
        self._failed = 0
        self._given_up: EndpointFault | None = None

    def ask(self, attempt: Attempt) -> None:
        """Ask for one attempt, and archive the answer.

        Raises:
            NoMoneyError: nothing was asked.
            EndpointFault: there was no answer.
            Fault: the answer cannot be kept; it is on file, and the next run goes on from there.
        """
        with self._gate:
            if self._given_up is not None:
                raise self._given_up
            if not self._budget.left():
                raise NoMoneyError
            try:
                answer = self._answer(attempt)
            except EndpointFault as fault:
                self._failed += 1
                if not fault.passing or self._failed >= _IN_A_ROW:
                    self._given_up = fault
                raise
            self._failed = 0
            self._budget.add(dollars_of(answer, self._price, self._budget.limited)[0])
        keep(attempt, answer, self._price, self._root)

    def _answer(self, attempt: Attempt) -> Completion:
        recorder = _GateRecorder(self._ledger.recorder(attempt.id), self._gate)
        for turn in range(_TURNS):
            try:
                return self._generator.complete(
                    attempt.prompt, retries=RETRIES, recorder=recorder, unsupported=self._unsupported
                )
            except EndpointFault as fault:
                if not fault.passing or not recorder.answered or turn == _TURNS - 1:
                    raise
                time.sleep(_PAUSE_SECONDS * turn)
        raise AssertionError("unreachable")


class _GateRecorder:
    """Keeps the exchanges of an attempt, and narrows the gate when the endpoint asks for fewer requests."""

    def __init__(self, recorder: AttemptRecorder, gate: Gate) -> None:
        self._recorder = recorder
        self._gate = gate
        self.answered = False

    def sent(self, request: dict[str, object]) -> None:
        self._recorder.sent(request)

    def received(self, exchange: Exchange) -> None:
        self._recorder.received(exchange)
        self.answered = exchange.status == 200
        if exchange.status == 429:
            self._gate.narrow()


def _generator(asked: StudyGenerator) -> Generator:
    return Generator(
        asked.model,
        asked.endpoint,
        timeout_seconds=asked.timeout,
        max_tokens=asked.max_tokens,
        temperature=asked.temperature,
        reasoning_effort=asked.reasoning_effort,
        api=asked.api,
    )
