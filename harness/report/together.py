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

    A pruner that ran in more than one with the same code and the same perplexities stands in it once; one of the same
    name and other code, or other results, has the study's name behind its own.

    Raises:
        UsageError: two studies measured a target by different protocols, or one stands in it twice.
    """
    names = [results.name for results in studies]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"study {plain(twice, 80)!r} was given twice: give each study once, or rename one")
    for one, other in combinations(studies, 2):
        _check_alike(one, other)
    merged: dict[Cell, Score] = {}
    zeros: dict[Cell, Zeros] = {}
    attempts: dict[str, Attempt] = {}
    digests: dict[str, str | None] = {}
    planned = sum(results.planned for results in studies)
    for results in studies:
        aliases = _aliases(results, merged, digests)
        for score in results.scores:
            alias = aliases[score.pruner]
            key = (score.target, score.sparsity, alias)
            planned -= key in merged
            merged.setdefault(key, replace(score, pruner=alias))
            old = (score.target, score.sparsity, score.pruner)
            if old in results.zeros:
                zeros.setdefault(key, results.zeros[old])
        for name, alias in aliases.items():
            digests.setdefault(alias, results.digests.get(name))
            if name in results.attempts:
                attempts.setdefault(alias, results.attempts[name])
    prompts = {results.prompt for results in studies}
    return Results(
        name=" and ".join(names),
        planned=planned,
        scores=_grouped(merged.values()),
        faults=[fault for results in studies for fault in results.faults],
        measurements={target: m for results in reversed(studies) for target, m in results.measurements.items()},
        rank_isolation="any" if all(results.rank_isolation == "any" for results in studies) else "docker",
        prompt=prompts.pop() if len(prompts) == 1 else None,
        zeros=zeros,
        attempts=attempts,
        digests=digests,
    )


def _aliases(results: Results, merged: Mapping[Cell, Score], digests: Mapping[str, str | None]) -> dict[str, str]:
    """What each pruner of a study is called among those that are there already."""
    aliases: dict[str, str] = {}
    for score in results.scores:
        earlier = merged.get((score.target, score.sparsity, score.pruner))
        other_code = score.pruner in digests and digests[score.pruner] != results.digests.get(score.pruner)
        other_result = earlier is not None and _result(earlier) != _result(score)
        if other_code or other_result:
            aliases[score.pruner] = f"{score.pruner} ({results.name})"
        else:
            aliases.setdefault(score.pruner, score.pruner)
    return aliases


def _result(score: Score) -> tuple[Any, ...]:
    return score.status, score.perplexity, score.isolation, score.seed


def _check_alike(one: Results, other: Results) -> None:
    for target in one.measurements.keys() & other.measurements.keys():
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
