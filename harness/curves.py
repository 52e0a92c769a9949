"""One number out of a curve of perplexity against sparsity: the area under it, and where it falls off the cliff."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pandas as pd

from harness.console import plain
from harness.records import Score, Sparsity
from harness.standings import NAME_CHARACTERS, is_ranked

CLIFF = 2.0
"""How many times the dense perplexity a model is lost at."""
COLUMNS = ["target", "protocol", "pruner", "author", "levels", "area", "cliff"]
Curve = Sequence[tuple[float, float]]
"""Sparsities in (0, 1), rising, each with log(perplexity / dense perplexity)."""


def over_sparsities(scores: Sequence[Score], rank_isolation: str = "docker") -> pd.DataFrame:
    """A row for each pruner of each target and protocol, those with the smallest area first.

    Unstructured levels alone, where there are at least two. `levels` is how many have a perplexity. `area` is None
    where one has none that others of the same target and protocol were asked for: areas over different levels cannot be
    compared.
    """
    curves: dict[tuple[str, str], dict[tuple[str, str], dict[float, float | None]]] = {}
    for score in scores:
        sparsity = Sparsity.parse(score.sparsity)
        if sparsity.n is None and sparsity.structure is None and sparsity.ratio > 0:
            height = None
            if is_ranked(score, rank_isolation) and score.perplexity and score.dense_perplexity:
                height = math.log(score.perplexity / score.dense_perplexity)
            group = curves.setdefault((score.target, score.protocol), {})
            group.setdefault((score.pruner, score.author), {})[sparsity.ratio] = height
    rows = []
    for (target, protocol), pruners in curves.items():
        asked = {level for levels in pruners.values() for level in levels}
        if len(asked) < 2:
            continue  # one level is no curve
        for (pruner, author), levels in pruners.items():
            curve = sorted((level, height) for level, height in levels.items() if height is not None)
            whole = len(curve) == len(asked)
            name = plain(pruner, NAME_CHARACTERS)
            fall = cliff(curve) if curve else None
            rows.append((target, protocol, name, author, len(curve), area(curve) if whole else None, fall))
    frame = pd.DataFrame(rows, columns=COLUMNS).astype({"area": "float64", "cliff": "float64"})
    order = frame.groupby(["target", "protocol"], sort=False).ngroup()
    return frame.assign(_group=order).sort_values(["_group", "area", "pruner"], ignore_index=True)[COLUMNS]


def area(curve: Curve) -> float:
    """Mean of log(perplexity / dense) from no pruning to the last level: trapezoids, with 0 at sparsity 0.

    exp of it is the geometric mean factor by which pruning raises perplexity.
    """
    points = [(0.0, 0.0), *curve]
    total = sum((b - a) * (low + high) / 2 for (a, low), (b, high) in itertools.pairwise(points))
    return total / points[-1][0]


def cliff(curve: Curve, times: float = CLIFF) -> float | None:
    """The least sparsity at which perplexity reaches `times` the dense one, between levels on a straight line in its
    logarithm; None where it never does.
    """
    height = math.log(times)
    points = [(0.0, 0.0), *curve]
    for (a, low), (b, high) in itertools.pairwise(points):
        if high >= height:
            return b if math.isinf(high) else a + (b - a) * (height - low) / (high - low)
    return None
