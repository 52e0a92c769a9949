"""What an answer on file says and costs, and how it is archived; the same for direct requests and for batches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from harness import archive
from harness.errors import EndpointFault, UsageError
from harness.ledger import Attempt, Call
from harness.prices import Price, cost, price, usage
from harness.records import Completion, Exchange
from harness.stages import candidate, completion
from harness.study import Study, StudyGenerator

_WORRY_CHARACTERS = 3
"""Of text for a token, where an endpoint counts none and the cost has a limit: rather too many tokens than too few."""


def prices(study: Study) -> dict[str, Price | None]:
    """Of each generator by its label; None where neither the study nor the bundled table has it.

    Raises:
        UsageError: the study has a `max_cost`, and a price is not known.
    """
    found = {generator.label: _price(generator) for generator in study.generators}
    if study.max_cost is not None and (lacking := [label for label, at in found.items() if at is None]):
        raise UsageError(
            f"study {study.name!r}: max_cost needs the price of {lacking[0]!r}: give that generator an input_price and"
            " an output_price, in US dollars for a million tokens"
        )
    return found


def _price(generator: StudyGenerator) -> Price | None:
    found = price(generator.model)
    if generator.input_price is not None and generator.output_price is not None:
        found = Price(generator.input_price, generator.output_price, "study file")
    return found and replace(found, batch_discount=generator.batch_discount or 0.0)


def received(model: str, calls: Iterable[Call]) -> Completion | None:
    """The answer of a model among the calls of one attempt, if there is one."""
    found = (read(model, call.exchange) for call in calls if call.exchange is not None)
    return next((answer for answer in found if answer is not None), None)


def read(model: str, exchange: Exchange) -> Completion | None:
    """The answer of a model in an exchange; None where that is an error, or nothing that can be read."""
    if exchange.status not in (200, 400):
        return None
    try:
        return completion.answer(model, exchange)
    except EndpointFault:
        return None


def dollars_of(answer: Completion, at: Price | None, limited: bool = False) -> tuple[float | None, str | None]:
    """US dollars of an answer and the date of the prices; where the cost is `limited`, rather a guess than nothing."""
    counted = usage(answer.response)
    if limited and counted.cost is None and None in (counted.input_tokens, counted.output_tokens):
        asked = len(str(answer.request.get("body", "")))
        counted = replace(
            counted,
            input_tokens=asked // _WORRY_CHARACTERS,
            output_tokens=len(answer.text) // _WORRY_CHARACTERS,
        )
    if at is not None and "custom_id" in answer.request:  # a line of a batch has one, a request of its own has none
        at = at.batched
    dollars = cost(counted, at)
    if counted.cost is not None:
        return dollars, "endpoint"
    return dollars, None if dollars is None or at is None else at.date


def keep(attempt: Attempt, answer: Completion, at: Price | None, root: Path) -> None:
    """Archive the answer of an attempt, with what it cost.

    Raises:
        StorageFault: it cannot be kept.
    """
    source, status, message = candidate.extract(answer)
    dollars, date = dollars_of(answer, at)
    archive.archive(
        attempt.prompt,
        replace(answer, model=attempt.model),
        root,
        source=source,
        status=status,
        message=message,
        cost=None if dollars is None else {"usd": dollars, "prices": date},
        at=attempt.id,
    )
