"""What the asking half of a study will take: requests, tokens, money and time, before the first request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import archive
from harness.asking import ARCHIVE
from harness.expectation import expect
from harness.ledger import Attempt, Call
from harness.settling import prices, received
from harness.study import Study


@dataclass(frozen=True, slots=True)
class Forecast:
    """Of one generator, for the attempts that have no answer yet."""

    generator: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost: float | None
    """US dollars; None where the price is not known."""
    seconds: float
    measured: int
    """How many of its own answers the numbers are means of; 0 where they are assumptions."""


def forecast(
    study: Study, attempts: Sequence[Attempt], calls: Mapping[str, list[Call]], root: Path = ARCHIVE
) -> list[Forecast]:
    """One forecast a generator; nothing is asked and nothing written.

    Raises:
        UsageError: as `harness.settling.prices`.
    """
    at, archived = prices(study), archive.candidates([root])
    found = []
    for generator in study.generators:
        mine = [attempt for attempt in attempts if attempt.generator == generator.label]
        left = [a for a in mine if a.id not in archived and received(a.model, calls.get(a.id, [])) is None]
        each, price = expect(generator, mine, calls), at[generator.label]
        if generator.batch:
            seconds = each.seconds if left else 0.0
            price = price and price.batched
        else:
            seconds = each.seconds * len(left) / min(generator.concurrency, max(1, len(left)))
        dollars = each.dollars(len(left), price)
        found.append(Forecast(generator.label, len(left), *each.tokens(len(left)), dollars, seconds, each.measured))
    return found
