"""Results -> how many attempts each round of repairs saved; read from the results that lie beside those of one pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.ledger import Ledger
from harness.repairs import Fate, fates, repaired_id, round_name
from harness.resources import is_file
from harness.store import Store


@dataclass(frozen=True, slots=True)
class Repairs:
    """Of one generator and template; every attempt is counted once."""

    generator: str
    template: str
    attempts: int
    ok: int
    """In one pass."""
    saved: tuple[int, ...]
    """By each round."""
    na: int
    """In one pass or after a round."""
    failing: int
    """To this day."""
    open: int
    """Nobody knows yet."""


def read_repairs(store: Store, name: str) -> list[Repairs]:
    """Those of the study `name` in `store`; empty where there was no round.

    Raises:
        StorageFault: the results of a round cannot be read.
    """
    rounds = list(_rounds(store.path, name))
    if not rounds:
        return []
    groups: dict[tuple[str, str], list[tuple[Fate, int]]] = {}
    with store.reading():  # the file may be a stranger's
        one_pass = fates(store)
        for facts in Ledger(store).attempts():
            ends = groups.setdefault((facts["generator"], facts["template"]), [])
            ends.append(_end(facts["id"], one_pass[facts["id"]], rounds))
    return [_counted(*group, ends, len(rounds)) for group, ends in groups.items()]


def _rounds(path: Path, name: str) -> Iterator[Mapping[str, Fate]]:
    """What became of the attempts of each round, by their ids."""
    if Path(round_name(name, 1)).name != round_name(name, 1):  # a stranger's study, whose name leads elsewhere
        return
    number = 1
    while is_file(file := path.parent.parent / round_name(name, number) / path.name):
        with Store(file, create=False) as store, store.reading():
            plan = store.plan()
            if plan is None or plan.name != round_name(name, number) or not plan.settings.get("repairs"):
                return
            yield fates(store)
        number += 1


def _end(attempt: str, fate: Fate, rounds: list[Mapping[str, Fate]]) -> tuple[Fate, int]:
    """How an attempt stands after the rounds, and the last of them in which it was asked; 0 is one pass."""
    last = 0
    for number, found in enumerate(rounds, 1):
        attempt = repaired_id(attempt, number)
        if fate is not Fate.FAILED or attempt not in found:
            break
        fate, last = found[attempt], number
    return fate, last


def _counted(generator: str, template: str, ends: list[tuple[Fate, int]], rounds: int) -> Repairs:
    fates = [fate for fate, _ in ends]
    ok, *saved = (ends.count((Fate.OK, number)) for number in range(rounds + 1))
    rest = (fates.count(fate) for fate in (Fate.NA, Fate.FAILED, Fate.OPEN))
    return Repairs(generator, template, len(ends), ok, tuple(saved), *rest)
