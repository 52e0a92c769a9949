"""Results -> the draft's Figures 1 to 3: perplexity against sparsity, beside the draft's own curves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.drawing import AUTHORS, DPI, GREY, LARGEST, apart, dress, legend_beside, log_axis, put, shortened, styles
from harness.report.paper import draft
from harness.report.paper.draft import Value
from harness.report.paper.tables import PRUNERS, Levels, first_samples, levels
from harness.report.results import Results
from harness.stages.idea import ideas
from harness.status import Status

CAPTIONS = {
    1: "pruned level and perplexity",
    2: "effectiveness of the weights as an indicator",
    3: "machine and human",
}


@dataclass(frozen=True)
class _Curve:
    label: str
    author: str
    points: tuple[tuple[float, float, float, float], ...]
    """Sparsity, perplexity, and the bounds of its 95% interval; by rising sparsity."""


def draw(number: int, results: Results) -> Figure:
    """Figure 1, 2 or 3: a panel for each target, and one of the draft's own numbers."""
    panels = [
        (f"{target}, measured here", _measured(number, target, results), results.dense_perplexity(target))
        for target in results.targets
    ]
    panels.append((f"{draft.LLAMA}, as the draft prints it", _printed(number), None))
    figure = Figure(layout="constrained", dpi=DPI)
    figure.set_size_inches(7.6, 0.5 + 2.9 * len(panels))
    figure.subplots(len(panels), 1)
    authors = {curve.label: curve.author for _, curves, _ in panels for curve in curves}
    same = {label: _measured_label(label, authors) for label in authors}
    distinct = {label: authors[label] for label in same.values()}
    by_label = dict(zip(distinct, styles(distinct.values()), strict=True))
    looks = {label: by_label[known] for label, known in same.items()}
    for axis, (title, curves, dense) in zip(figure.axes, panels, strict=True):
        _panel(axis, title, curves, dense, looks)
    figure.align_ylabels()
    put(figure.suptitle(""), f"Figure {number}: {CAPTIONS[number]}", 90).set_fontsize(10.5)
    return figure


def _measured_label(label: str, labels: Iterable[str]) -> str:
    """The first of `labels` that is of the same idea: the draft's curve of an idea looks as that measured here does."""
    return next((one for one in labels if one.startswith(f"{label}, ")), label)


def _measured(number: int, target: str, results: Results) -> list[_Curve]:
    people = PRUNERS[2 if number == 2 else 1]
    curves = [_of_scores(heading, "human", levels(results.scores, target, name)) for heading, name in people.items()]
    if number == 3:
        curves += [_of_scores(heading, "model", scores) for heading, scores in first_samples(results, target).items()]
    return [curve for curve in curves if curve.points]


def _printed(number: int) -> list[_Curve]:
    table = 2 if number == 2 else 1
    curves = [_of_values(heading, "human", draft.curve(table, heading)) for heading in PRUNERS[table]]
    if number == 3:
        curves += [
            _of_values(f"{idea.number} {idea.title}", "model", values)
            for idea in ideas()
            if (values := draft.curve(5, f"aigc algorithm {idea.number}"))
        ]
    return curves


def _of_scores(label: str, author: str, scores: Levels) -> _Curve:
    points = []
    for level, score in scores.items():
        value = score.perplexity
        if score.status == Status.OK and not score.quarantined and value is not None and 0 < value < LARGEST:
            points.append((level, value, score.perplexity_low or value, score.perplexity_high or value))
    return _Curve(label, author, tuple(points))


def _of_values(label: str, author: str, values: Mapping[float, Value]) -> _Curve:
    return _Curve(label, author, tuple((x, y, y, y) for x, y in values.items() if isinstance(y, float)))


def _panel(
    axis: Axes, title: str, curves: Sequence[_Curve], dense: float | None, looks: Mapping[str, dict[str, Any]]
) -> None:
    """The legend is in the order of the right ends of the lines; a pruner looks the same in all panels."""
    ordered = sorted(curves, key=lambda curve: -curve.points[-1][1])
    for curve in ordered:
        xs, ys, lows, highs = zip(*curve.points, strict=True)
        look = looks[curve.label]
        axis.plot(xs, ys, **look)
        axis.vlines(xs, lows, [min(high, LARGEST) for high in highs], color=look["color"], linewidth=1)
    values = [value for curve in curves for point in curve.points for value in point[1:] if math.isfinite(value)]
    log_axis(axis, "y", [*values, *([dense] if dense else [])], ticks=7)
    ticks = sorted({level for curve in curves for level, *_ in curve.points})
    if ticks:
        axis.set_xticks(apart(ticks))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_xlabel("sparsity (fraction of zeros)", fontsize=8)
    axis.set_ylabel("perplexity (log scale)", fontsize=8)
    put(axis.set_title("", loc="left", fontsize=9), title, 80)
    dress(axis)
    entries: list[tuple[Line2D, str, bool]] = []
    for author, heading in AUTHORS.items():
        lines = [curve for curve in ordered if curve.author == author]
        entries += [(Line2D([], [], linestyle="none"), heading, True)] if lines else []
        entries += [(Line2D([], [], **looks[curve.label]), shortened(curve.label), False) for curve in lines]
    if dense:
        axis.axhline(dense, color=GREY, linestyle=":", linewidth=1.2, zorder=1)
        entries.append((Line2D([], [], color=GREY, linestyle=":", linewidth=1.2), "dense model", False))
    if not curves:
        axis.text(0.5, 0.5, "nothing measured", transform=axis.transAxes, ha="center", color=GREY, fontsize=9)
    legend_beside(axis, entries)
