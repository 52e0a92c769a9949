"""What attempts of a generator will take, each: by its own answers, or by assumptions as long as it gave none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from harness.ledger import Attempt, Call
from harness.prices import Price, Usage, cost, usage
from harness.settling import received
from harness.study import StudyGenerator

CHARACTERS_PER_TOKEN = 4
"""Of a prompt, as long as the endpoint has counted none."""
ANSWER_TOKENS = 4000
"""Of an answer, as long as none came and `max_tokens` says no less: a page of code, and as much reasoning."""
ANSWER_SECONDS = 30.0
"""Likewise."""
BATCH_SECONDS = 24 * 3600.0
"""Likewise of a whole batch: the window that it is asked for."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """Of one attempt; means."""

    input_tokens: float
    output_tokens: float
    seconds: float
    """Of one request, or of a whole batch."""
    measured: int
    """How many answers the numbers are means of; 0 where they are assumptions."""

    def tokens(self, attempts: int) -> tuple[int, int]:
        """Of so many attempts: of the prompts, and of the answers."""
        return round(self.input_tokens * attempts), round(self.output_tokens * attempts)

    def dollars(self, attempts: int, at: Price | None) -> float | None:
        """US dollars of so many attempts; None where the price is not known."""
        return cost(Usage(*self.tokens(attempts), None, None), at)


def expect(generator: StudyGenerator, mine: Sequence[Attempt], calls: Mapping[str, list[Call]]) -> Expectation:
    """Of each of the attempts of one generator, at least one."""
    answers = [answer for attempt in mine if (answer := received(attempt.model, calls.get(attempt.id, [])))]
    counted = [usage(answer.response) for answer in answers]
    asked = [count.input_tokens for count in counted if count.input_tokens is not None]
    said = [count.output_tokens for count in counted if count.output_tokens is not None]
    return Expectation(
        mean(asked) if asked else mean(len(attempt.prompt.text) / CHARACTERS_PER_TOKEN for attempt in mine),
        mean(said) if said else min(ANSWER_TOKENS, generator.max_tokens or ANSWER_TOKENS),
        mean(answer.latency_seconds for answer in answers)
        if answers
        else BATCH_SECONDS
        if generator.batch
        else ANSWER_SECONDS,
        len(answers),
    )
