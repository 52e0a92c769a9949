"""Prices: what an answer cost, by the tokens that the endpoint counted and a table of prices with its date."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from harness.resources import bundled

_MILLION = 1e6
_MOST = 1e15
"""What an endpoint counts beyond that is no count."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens."""

    input: float
    output: float
    """Reasoning included."""
    date: str
    """Of the table that it stands in, ISO 8601; `study file` where a study gives it."""
    batch_discount: float = 0.0
    """The fraction by which an answer out of a batch costs less."""

    @property
    def batched(self) -> Price:
        """Of an answer out of a batch."""
        if not self.batch_discount:
            return self
        left = 1 - self.batch_discount
        return Price(self.input * left, self.output * left, f"{self.date}, batch discount {self.batch_discount:g}")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer as the endpoint counted them; None where it did not."""

    input_tokens: int | None
    output_tokens: int | None
    """Reasoning included."""
    reasoning_tokens: int | None
    cost: float | None
    """US dollars, where the endpoint says so itself."""


def price(model: str) -> Price | None:
    """Of a model in the bundled table; None where it has none. Local models cost nothing."""
    if model.startswith("local:"):
        return Price(0.0, 0.0, "local")
    table = _table()
    found = table["models"].get(model)
    return None if found is None else Price(found["input"], found["output"], table["date"])


def usage(response: Mapping[str, Any]) -> Usage:
    """What an answer's `usage` says, of either API; a stranger wrote it."""
    found = response.get("usage")
    found = found if isinstance(found, dict) else {}
    details = found.get("completion_tokens_details") or found.get("output_tokens_details")
    return Usage(
        _count(found.get("prompt_tokens", found.get("input_tokens"))),
        _count(found.get("completion_tokens", found.get("output_tokens"))),
        _count(details.get("reasoning_tokens")) if isinstance(details, dict) else None,
        amount(found.get("cost")),
    )


def cost(counted: Usage, at: Price | None) -> float | None:
    """US dollars of an answer: what the endpoint says, or its tokens at this price; None where neither is known."""
    if counted.cost is not None:
        return counted.cost
    if at is None or counted.input_tokens is None or counted.output_tokens is None:
        return 0.0 if at is not None and at.input == at.output == 0 else None
    return (counted.input_tokens * at.input + counted.output_tokens * at.output) / _MILLION


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(bundled("prices.toml").read_text(encoding="utf-8"))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST else None


def amount(value: Any) -> float | None:
    """US dollars, if `value` can be that."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and 0 <= value < _MOST else None
