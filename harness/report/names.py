"""What pruners are called in a report: one bounded line each, and no two the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from harness.console import plain
from harness.report.results import Results
from harness.standings import NAME_CHARACTERS

_TAIL = 48
"""Characters that the end of a long name keeps: ids and paths differ there."""
_LONGEST = 100_000


def displayed(results: Results) -> Results:
    """The same results under names that every table, page and comparison can hold; those that are fine stay."""
    names = _displayed(dict.fromkeys([*(score.pruner for score in results.scores), *results.attempts]))
    if all(name == shown for name, shown in names.items()):
        return results
    return replace(
        results,
        scores=[replace(score, pruner=names[score.pruner]) for score in results.scores],
        zeros={(t, s, names.get(pruner, pruner)): one for (t, s, pruner), one in results.zeros.items()},
        measured_with={(t, s, names.get(pruner, pruner)): one for (t, s, pruner), one in results.measured_with.items()},
        attempts={names[pruner]: attempt for pruner, attempt in results.attempts.items()},
        cells=[(t, s, names.get(pruner, pruner)) for t, s, pruner in results.cells],
    )


def _displayed(names: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        line = " ".join(plain(name, _LONGEST).split()) or "?"
        shown, number = _shortened(line, NAME_CHARACTERS), 1
        while shown in taken:
            number += 1
            end = f" ({number})"
            shown = _shortened(line, NAME_CHARACTERS - len(end)) + end
        taken.add(shown)
        found[name] = shown
    return found


def _shortened(line: str, limit: int) -> str:
    return line if len(line) <= limit else f"{line[: limit - _TAIL - 1].rstrip()}…{line[-_TAIL:].lstrip()}"
