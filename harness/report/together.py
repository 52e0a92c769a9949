"""Several studies' results as one: pruners, models or prompts of different times in one ranking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from typing import Any

from harness.console import plain
from harness.errors import UsageError
from harness.overlap import Cell
from harness.records import Measurement, Score, Zeros
from harness.report.attempts import Attempt
from harness.report.results import Results

_BESIDE_THE_PROTOCOL = {"not_pruned", "layers", "dense_text"}
_NAMES = {"id": "protocol", "weights_sha256": "weights", "tokenizer_sha256": "tokenizer"}


def together(studies: Sequence[Results]) -> Results:
    """One `Results` of several; a target that two of them have must have been measured alike.

    A pruner that ran in more than one with the same code, seed, isolation and results stands in it once; one of the
    same name of which that is not so has its study's name behind its own. Texts are kept of the studies that have the
    first one's prompt.

    Raises:
        UsageError: two studies measured a target by different protocols, one stands in it twice, or one is a round of
            repairs.
    """
    names = [results.name for results in studies]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"study {plain(twice, 80)!r} was given twice: give each study once, or rename one")
    if repaired := next((results.name for results in studies if results.repairs_of), None):
        raise UsageError(f"{plain(repaired, 80)} is a round of repairs, and ranked with nothing else: report it alone")
    for one, other in combinations(studies, 2):
        _check_alike(one, other)
    prompt = next((results.prompt for results in studies if results.prompt), None)
    whole = _Whole()
    for results in studies:
        whole.add(results if results.prompt == prompt else _without_texts(results))
    faults = [fault for results in studies for fault in results.faults]
    return Results(
        name=" and ".join(names),
        planned=len(whole.cells),
        scores=_grouped(whole.scores.values()),
        faults=[one for one in faults if (one.target, one.sparsity, one.pruner) not in whole.scores],
        measurements=whole.measurements,
        rank_isolation="any" if all(results.rank_isolation == "any" for results in studies) else "docker",
        prompt=prompt,
        zeros=whole.zeros,
        attempts=whole.attempts,
        digests=whole.digests,
        cells=list(whole.cells),
    )


class _Whole:
    """What has been put together so far."""

    def __init__(self) -> None:
        self.scores: dict[Cell, Score] = {}
        self.zeros: dict[Cell, Zeros] = {}
        self.attempts: dict[str, Attempt] = {}
        self.digests: dict[str, str | None] = {}
        self.measurements: dict[str, Measurement] = {}
        self.cells: dict[Cell, None] = {}
        self._settings: dict[str, set[tuple[int, str]]] = {}

    def add(self, results: Results) -> None:
        """One more study."""
        by_pruner: dict[str, dict[Cell, Score]] = {name: {} for name in results.digests}
        for score in results.scores:
            by_pruner.setdefault(score.pruner, {})[(score.target, score.sparsity, score.pruner)] = score
        own = set(by_pruner)
        aliases: dict[str, str] = {}
        for name, cells in by_pruner.items():
            alias = aliases[name] = self._alias(name, cells, results, own - {name} | set(aliases.values()))
            self.digests[alias] = results.digests.get(name)
            self._settings.setdefault(alias, set()).update(_settings(cells))
            for (target, sparsity, _), score in cells.items():
                self.scores.setdefault((target, sparsity, alias), replace(score, pruner=alias))
            if name in results.attempts:
                self.attempts.setdefault(alias, results.attempts[name])
        for (target, sparsity, name), zeros in results.zeros.items():
            self.zeros.setdefault((target, sparsity, aliases[name]), zeros)
        scored = [(score.target, score.sparsity, score.pruner) for score in results.scores]
        for target, sparsity, name in (*results.cells, *scored):
            self.cells[(target, sparsity, aliases.get(name, name))] = None
        for target, measurement in results.measurements.items():
            known = self.measurements.get(target, measurement)
            text = known.dense_text if known.dense_text is not None else measurement.dense_text
            self.measurements[target] = replace(known, layers=known.layers or measurement.layers, dense_text=text)

    def _alias(self, name: str, cells: Mapping[Cell, Score], results: Results, taken: set[str]) -> str:
        """What a pruner is called here: as one that is there already if it is the same, else by a name of its own."""
        known = [alias for alias in self.digests if alias == name or alias.startswith(f"{name} (")]
        for alias in known:
            if alias not in taken - {name} and self._is_same(alias, cells, results.digests.get(name)):
                return alias
        fresh, number = name, 1
        while fresh in self.digests or (fresh in taken and fresh != name):
            fresh = f"{name} ({results.name})" if number == 1 else f"{name} ({results.name}, {number})"
            number += 1
        return fresh

    def _is_same(self, alias: str, cells: Mapping[Cell, Score], digest: str | None) -> bool:
        settings = self._settings[alias] | _settings(cells)
        shared = [(self.scores.get((target, sparsity, alias)), one) for (target, sparsity, _), one in cells.items()]
        alike = all(one is None or _result(one) == _result(other) for one, other in shared)
        return self.digests[alias] == digest and len(settings) <= 1 and alike


def _settings(cells: Mapping[Cell, Score]) -> set[tuple[int, str]]:
    return {(score.seed, score.isolation) for score in cells.values()}


def _result(score: Score) -> tuple[Any, ...]:
    return score.status, score.perplexity


def _without_texts(results: Results) -> Results:
    return replace(
        results,
        scores=[replace(score, text=None) for score in results.scores],
        measurements={target: replace(one, dense_text=None) for target, one in results.measurements.items()},
    )


def _check_alike(one: Results, other: Results) -> None:
    for target in sorted(one.measurements.keys() & other.measurements.keys()):
        first, second = (_facts(results.measurements[target]) for results in (one, other))
        differing = [name for name in first if first[name] != second[name] and name != "id"]
        if first["id"] != second["id"] or differing:
            facts = ", ".join(
                f"{_NAMES.get(name, name)} ({_short(first[name])} and {_short(second[name])})" for name in differing
            )
            raise UsageError(
                f"{plain(one.name, 80)} and {plain(other.name, 80)} measured {plain(target, 80)} differently: {facts};"
                " numbers of different protocols are never ranked together: report them one by one"
            )


def _facts(measurement: Measurement) -> dict[str, Any]:
    return {name: value for name, value in asdict(measurement).items() if name not in _BESIDE_THE_PROTOCOL}


def _short(value: object) -> str:
    return plain(str(value), 16)


def _grouped(scores: Iterable[Score]) -> list[Score]:
    """Scores of one ranking stand together, the rankings in the order in which they first come."""
    groups: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.target, score.sparsity), []).append(score)
    return [score for group in groups.values() for score in group]
