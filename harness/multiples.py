"""Many targets in one figure: a small panel each, with the best of people's and of models' pruners at each sparsity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.drawing import AUTHOR_COLOURS, AUTHORS, GREY, LARGEST, dress, log_axis, put, styles
from harness.records import Score
from harness.status import Status

Points = list[tuple[float, float]]
"""Places on the axis of sparsities, and perplexities there."""

_COLUMNS = 4
_WIDTH, _HEIGHT = 10.0, 1.9
"""Inches, of the figure and of a panel."""
_ABOVE, _BELOW, _BETWEEN = 0.7, 1.1, 0.45
"""Inches around the panels, and from one to the next below."""
_DENSE: dict[str, Any] = {"color": GREY, "linestyle": ":", "linewidth": 1.0, "zorder": 1}
_LABEL = 6.5


def draw_multiples(
    figure: Figure, panels: Mapping[tuple[str, str], Sequence[Score]], ratios: Sequence[str], others: Sequence[str]
) -> None:
    """Fill `figure`, a panel for each target and protocol, whose name is the first of its key.

    The sparsities are evenly spaced: `ratios`, joined by lines, then `others`.
    """
    rows = math.ceil(len(panels) / _COLUMNS)
    height = _ABOVE + _BELOW + rows * _HEIGHT + (rows - 1) * _BETWEEN
    figure.set_size_inches(_WIDTH, height)
    figure.subplots_adjust(
        left=0.065, right=0.985, top=1 - _ABOVE / height, bottom=_BELOW / height, wspace=0.27, hspace=_BETWEEN / _HEIGHT
    )
    grid = figure.subplots(rows, _COLUMNS, squeeze=False, sharex=True)
    places = {label: place for place, label in enumerate((*ratios, *others))}
    for axis, ((target, _), scores) in zip(grid.flat, panels.items(), strict=False):
        _panel(axis, scores, places, len(ratios))
        put(axis.set_title("", loc="left", fontsize=7.5), target, 34)
    for axis in grid.flat[len(panels) :]:
        axis.set_visible(False)
    grid[0, 0].set_xlim(-0.5, len(places) - 0.5)  # all panels share what is below them
    grid[0, 0].set_xticks(range(len(places)), list(places))
    for column in range(_COLUMNS):
        lowest = [axis for axis in grid[:, column] if axis.get_visible()]
        if lowest:
            lowest[-1].tick_params(axis="x", labelbottom=True, labelrotation=90)
    figure.supxlabel("sparsity", fontsize=9, y=0.42 / height)
    figure.supylabel("perplexity (log scale)", fontsize=9, x=0.004)
    figure.legend(handles=_handles(), loc="lower center", ncols=5, fontsize=8, frameon=False)


def _panel(axis: Axes, scores: Sequence[Score], places: Mapping[str, int], ratios: int) -> None:
    values = [score.dense_perplexity for score in scores if score.dense_perplexity]
    for author, look in _looks().items():
        lines: dict[str, Points] = {}
        best: dict[float, float] = {}
        for score in scores:
            value = score.perplexity
            drawn = score.status == Status.OK and not score.quarantined and value is not None and 0 < value < LARGEST
            if score.author == author and drawn and value is not None:
                place = places[score.sparsity]
                lines.setdefault(score.pruner, []).append((place, value))
                best[place] = min(value, best.get(place, math.inf))
        joined = [sorted(point for point in line if point[0] < ratios) for line in lines.values()]
        axis.add_collection(LineCollection([line for line in joined if len(line) > 1], **_faint(author)))
        alone = [point for line in lines.values() for point in line if point[0] >= ratios]
        alone += [point for line in joined for point in line if len(line) == 1]
        axis.plot(*_columns(alone), linestyle="none", marker=".", markersize=3, **_faint(author))
        front = sorted(best.items())
        axis.plot(*_columns([point for point in front if point[0] < ratios]), **look)
        axis.plot(*_columns([point for point in front if point[0] >= ratios]), **{**look, "linestyle": "none"})
        values += [value for line in lines.values() for _, value in line]
    if dense := next((score.dense_perplexity for score in scores if score.dense_perplexity), None):
        axis.axhline(dense, **_DENSE)
    log_axis(axis, "y", values, ticks=5)
    dress(axis)
    axis.tick_params(labelsize=_LABEL)


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [place for place, _ in points], [value for _, value in points]


def _looks() -> dict[str, dict[str, Any]]:
    return {author: look | {"markersize": 3.5} for author, look in zip(AUTHORS, styles(AUTHORS), strict=True)}


def _faint(author: str) -> dict[str, Any]:
    return {"color": AUTHOR_COLOURS[author], "linewidth": 0.5, "alpha": 0.3, "zorder": 1.5}


def _handles() -> list[Line2D]:
    best = [Line2D([], [], **look, label=f"best {AUTHORS[author]}") for author, look in _looks().items()]
    words = {"human": "others by people", "model": "others by models"}
    rest = [Line2D([], [], **(_faint(author) | {"linewidth": 1.2}), label=words[author]) for author in AUTHORS]
    return [*best, *rest, Line2D([], [], **_DENSE, label="dense model")]
