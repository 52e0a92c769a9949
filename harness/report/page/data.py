"""Results -> what the page's scripts draw: plain numbers and words, as JSON that no word can break out of."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from statistics import fmean
from typing import Any

import pandas as pd

from harness.records import Measurement, Sparsity, Zeros
from harness.report.findings import Findings
from harness.report.page import charts
from harness.report.page.code import readable
from harness.report.results import Results
from harness.standings import GROUP

_MOST_PAIRS = 20_000
"""Beyond, the numbers of pairs are left to comparisons.csv: the page would be too large."""
_CODE_CHARACTERS = 20_000
_ROW = (
    *("rank", "status", "outcome", "perplexity", "perplexity_low", "perplexity_high", "ratio_to_dense"),
    *("achieved_sparsity", "sandbox_seconds", "peak_memory_bytes", "isolation", "kl_divergence"),
    *("nearest_reference", "mask_agreement", "notes", "error"),
)
_BLOCK = re.compile(r".*?\.(\d+)\.(.*)")
"""The index of the decoder block in the name of a layer, and what stands behind it."""
_BETTER = {"first": "<", "tie": "=", "second": ">"}


def study(found: Findings, pages: Mapping[str, str]) -> dict[str, Any]:
    """The leaderboard, its comparisons and all code; `pages` are the pages of pruners, by name."""
    results, frame = found.results, found.frame
    groups = {key: place for place, key in enumerate(dict.fromkeys(frame[GROUP].itertuples(index=False, name=None)))}
    authors = {score.pruner: score.author for score in results.scores}
    places = {name: place for place, name in enumerate(authors)}
    looks = dict(zip(authors, charts.colours(authors.values()), strict=True))
    pruners = [
        {
            "name": name,
            "author": author,
            "colour": looks[name],
            "page": pages[name],
            "code": _code(results, name),
        }
        for name, author in authors.items()
    ]
    rows = [
        [groups[tuple(row[key] for key in GROUP)], places[row["pruner"]], *(_plain(row[name]) for name in _ROW)]
        for row in frame.to_dict("records")
    ]
    return {
        "name": results.name,
        "groups": [_group(key, results.dense_perplexity(key[0])) for key in groups],
        "pruners": pruners,
        "columns": ["group", "pruner", *_ROW],
        "rows": rows,
        "pairs": _pairs(found.pairs, groups, places),
        "curves": charts.curves(),
        "heat": charts.heat_map(),
    }


def script(name: str, value: Any) -> str:
    """A script that sets `window.<name>` to `value`; it is ASCII, and holds no `<`."""
    return f"window.{name} = {as_json(value)};\n"


def as_json(value: Any) -> str:
    """JSON that may stand in a script: no tag ends in it, and no number is infinite."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def heat(measurement: Measurement | None, zeros: Zeros | None) -> dict[str, Any] | None:
    """Percentages of zeros by kind of layer and block, or one number where all are alike; None where none is known.

    Experts of one kind are averaged.
    """
    if measurement is None or zeros is None or len(measurement.layers) != len(zeros.fractions):
        return None
    found: dict[str, dict[int, list[float]]] = {}
    for name, fraction in zip(measurement.layers, zeros.fractions, strict=True):
        place = _BLOCK.fullmatch(name)
        block, kind = (int(place[1]), re.sub(r"\.\d+", "", place[2])) if place else (0, name)
        found.setdefault(kind, {}).setdefault(block, []).append(fraction)
    blocks = max(block for row in found.values() for block in row) + 1
    table = [[round(100 * fmean(row[b])) if b in row else None for b in range(blocks)] for row in found.values()]
    values = {value for row in table for value in row}
    return {"kinds": list(found), "blocks": blocks, "percent": values.pop() if len(values) == 1 else table}


def _group(key: tuple[Any, ...], dense: float | None) -> dict[str, Any]:
    target, protocol, sparsity = key
    asked = Sparsity.parse(sparsity)
    is_ratio = asked.n is None and asked.structure is None
    ratio = asked.ratio if is_ratio else None
    return {"target": target, "protocol": protocol, "sparsity": sparsity, "ratio": ratio, "dense": _plain(dense)}


def _pairs(pairs: pd.DataFrame, groups: Mapping[Any, int], places: Mapping[str, int]) -> list[dict[str, Any]]:
    """For each ranking its members, and of each two of them, the first with the second, the third, and so on, who is
    better: `<` the first, `>` the second, `=` neither; and ratio, its bounds and p where there is room.
    """
    has_numbers = len(pairs) <= _MOST_PAIRS
    found = []
    for key, part in pairs.groupby(GROUP, sort=False, dropna=False, observed=True):
        members = list(dict.fromkeys([*part["first"], *part["second"]]))  # as the rows are ordered, so are they
        one: dict[str, Any] = {"group": groups[key], "members": [places[name] for name in members]}
        one["better"] = "".join(map(_BETTER.__getitem__, part["better"]))
        if has_numbers:
            numbers = part[["ratio", "low", "high", "p_holm"]].to_numpy().tolist()
            one["numbers"] = [list(map(_plain, row)) for row in numbers]
        found.append(one)
    return found


def _code(results: Results, pruner: str) -> str | None:
    attempt = results.attempts.get(pruner)
    return None if attempt is None or attempt.code is None else readable(attempt.code, _CODE_CHARACTERS)


def _plain(value: Any, digits: int = 6) -> Any:
    """A number of few digits, a word, or None where nothing was measured or it is infinite."""
    if value is None or value is pd.NA:
        return None
    if isinstance(value, str):
        return value
    number = float(value)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() else float(f"{number:.{digits}g}")
