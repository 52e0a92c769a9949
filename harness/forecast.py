"""What the asking half of a study will take: requests, tokens, money and time, before the first request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from harness import archive
from harness.asking import ARCHIVE, prices, received
from harness.ledger import Attempt, Call
from harness.prices import Usage, cost, usage
from harness.study import Study

CHARACTERS_PER_TOKEN = 4
"""Of a prompt, as long as the endpoint has counted none."""
ANSWER_TOKENS = 4000
"""Of an answer, as long as none came and `max_tokens` says no less: a page of code, and as much reasoning."""
ANSWER_SECONDS = 30.0
"""Likewise."""


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
        UsageError: as `harness.asking.prices`.
    """
    at, archived = prices(study), archive.candidates([root])
    found = []
    for generator in study.generators:
        mine = [attempt for attempt in attempts if attempt.generator == generator.label]
        answers = [answer for attempt in mine if (answer := received(attempt.model, calls.get(attempt.id, [])))]
        left = [a for a in mine if a.id not in archived and received(a.model, calls.get(a.id, [])) is None]
        counted = [usage(answer.response) for answer in answers]
        asked = [count.input_tokens for count in counted if count.input_tokens is not None]
        said = [count.output_tokens for count in counted if count.output_tokens is not None]
        in_each = mean(asked) if asked else mean(len(a.prompt.text) / CHARACTERS_PER_TOKEN for a in mine)
        out_each = mean(said) if said else min(ANSWER_TOKENS, generator.max_tokens or ANSWER_TOKENS)
        each = mean(answer.latency_seconds for answer in answers) if answers else ANSWER_SECONDS
        tokens = round(in_each * len(left)), round(out_each * len(left))
        dollars = cost(Usage(*tokens, None, None), at[generator.label])
        seconds = each * len(left) / min(generator.concurrency, max(1, len(left)))
        found.append(Forecast(generator.label, len(left), *tokens, dollars, seconds, len(answers)))
    return found
