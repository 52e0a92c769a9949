"""The draft's own numbers: "Improved Methods for Model Pruning", whose tables are data in `harness/bundled/paper`."""

from __future__ import annotations

import csv
import re
from functools import cache

from harness.resources import bundled

Value = float | str | None
"""A cell: a number, a word (a status, NA, a text), or None where nothing was measured."""
PROMPT = "University is"
"""What the models of its Table 6 go on from."""
LLAMA, OPT = "Llama-7B", "OPT-1.3B"
"""The models that were pruned in it, as it names them."""
_KNOWN_AS = {LLAMA: r"llama-(v?1-)?7b\b.*", OPT: r"opt-1\.3b\b.*"}


@cache
def rows(number: int) -> tuple[dict[str, str], ...]:
    """The rows of a table, as printed, by its headings."""
    with (bundled("paper") / f"table{number}.csv").open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def curve(number: int, heading: str) -> dict[float, Value]:
    """A column by pruned level; empty where the table has no such column."""
    return {float(row["Pruned Level"]): value(row[heading]) for row in rows(number) if heading in row}


def value(text: str) -> Value:
    """A cell as a number, or as the word that stands there; None for the draft's asterisk."""
    try:
        return float(text)
    except ValueError:
        return None if text == "*" else text


def is_of(model: str, target: str) -> bool:
    """Whether a target is the draft's model, going by its name."""
    return re.fullmatch(_KNOWN_AS[model], target.rpartition("/")[2], re.IGNORECASE) is not None
