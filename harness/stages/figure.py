"""Scores -> the figure: perplexity against sparsity, of people's and of models' pruners, for screen and print.

With three ratios or more it is lines over the sparsity; with fewer it is a dot a pruner, sorted by perplexity. N:M
patterns have panels of their own. Many targets get a small panel each.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.drawing import (
    AUTHOR_COLOURS,
    AUTHOR_MARKERS,
    AUTHORS,
    BACKDROP,
    DISTINCT_LOOKS,
    DPI,
    GREY,
    LARGEST,
    apart,
    author_handle,
    dress,
    legend_beside,
    log_axis,
    put,
    shortened,
    styles,
    value_text,
)
from harness.multiples import draw_multiples
from harness.records import Score, Sparsity
from harness.status import Status

_LINE_RATIOS = 3
_MANY_PANELS = 6
"""More are small ones: nobody reads a figure of many pages."""
_NAMED = 24
"""Lines that have a name and a look of their own; a legend has room for no more."""
_FAINT: dict[str, Any] = {"color": "#bbbbbb", "linewidth": 0.7, "linestyle": (0, (4, 2)), "zorder": 1}


@dataclass
class _Series:
    """One pruner on one target."""

    pruner: str
    label: str
    author: str
    points: dict[str, Score] = field(default_factory=dict)
    """By sparsity; those that can be drawn."""
    words: dict[str, str] = field(default_factory=dict)
    """By sparsity; why there is no point."""

    def level(self, order: Sequence[str]) -> tuple[float, ...]:
        """Sorts from the best, at the first sparsity that counts, to what has no point at all."""
        return tuple(_number(self.points[key]) if key in self.points else math.inf for key in order)


def draw(scores: Sequence[Score], title: str) -> Figure:
    """The figure of a study; one row of panels per target and protocol."""
    panels: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        panels.setdefault((score.target, score.protocol), []).append(score)
    labels = list(dict.fromkeys(score.sparsity for score in scores))
    ratios = sorted((label for label in labels if ":" not in label), key=float)
    patterns = [label for label in labels if ":" in label]
    is_many = len(panels) > _MANY_PANELS
    figure = Figure(layout=None if is_many else "constrained", dpi=DPI)
    heading = put(figure.suptitle(""), f"{title}: perplexity after pruning, lower is better", 90)
    heading.set_fontsize(11)
    if not scores:
        figure.set_size_inches(6, 2)
        figure.text(0.5, 0.4, "no scores yet", ha="center", color=GREY)
    elif is_many:
        draw_multiples(figure, panels, ratios, patterns)
        heading.set_y(1 - 0.2 / figure.get_figheight())
    elif len(ratios) >= _LINE_RATIOS:
        _draw_lines(figure, panels, ratios, patterns)
    else:
        _draw_dots(figure, panels, [*ratios, *patterns])
    return figure


def _draw_lines(
    figure: Figure, panels: dict[tuple[str, str], list[Score]], ratios: list[str], patterns: list[str]
) -> None:
    figure.set_size_inches(10, 0.6 + 4.6 * len(panels))
    widths = [5.0, 0.5 + 0.5 * len(patterns)] if patterns else [1.0]
    grid = figure.subplots(len(panels), len(widths), squeeze=False, sharey="row", width_ratios=widths)
    order = [*reversed(ratios), *patterns]
    ordered = [sorted(_series(scores), key=lambda one: one.level(order)) for scores in panels.values()]
    named = [_named([one for one in series if one.points]) for series in ordered]
    looks_of = _shared_looks([drawn for drawn, _ in named])
    for axes, ((target, _), scores), series, (drawn, others) in zip(grid, panels.items(), ordered, named, strict=True):
        looks = [looks_of[one.pruner] for one in drawn] if looks_of else styles(one.author for one in drawn)
        for one in others:
            xs = [ratio for ratio in ratios if ratio in one.points]
            axes[0].plot([float(x) for x in xs], [_number(one.points[x]) for x in xs], **_FAINT)
        for one, style in zip(drawn, looks, strict=True):
            xs = [ratio for ratio in ratios if ratio in one.points]
            if xs:
                axes[0].plot([float(x) for x in xs], [_number(one.points[x]) for x in xs], **style)
            for position, pattern in enumerate(patterns):
                if pattern in one.points:
                    alone = {**style, "linestyle": "none"}
                    axes[1].plot([position], [_number(one.points[pattern])], **alone)
        log_axis(axes[0], "y", _drawn_values(scores), ticks=9)
        put(axes[0].set_title("", loc="left", fontsize=9), target, 60)
        axes[0].set_xlabel("sparsity (fraction of zeros)")
        axes[0].set_xticks(apart([float(ratio) for ratio in ratios]))
        axes[0].xaxis.set_major_formatter("{x:g}")
        axes[0].set_ylabel("perplexity (log scale)")
        if patterns:
            axes[1].set_xticks(range(len(patterns)), [_pattern_label(pattern) for pattern in patterns], fontsize=8)
            axes[1].set_xlim(-0.6, len(patterns) - 0.4)
            structures = any(Sparsity.parse(pattern).structure for pattern in patterns)
            axes[1].set_title("other sparsities" if structures else "N:M patterns", loc="left", fontsize=9)
            axes[1].tick_params(left=False)
        for axis in axes:
            dress(axis)
            _dense_line(axis.axhline, scores)
        _series_legend(axes[-1], drawn, looks, scores, len(others))
        _without_points(axes[0], [one for one in series if not one.points])


def _draw_dots(figure: Figure, panels: dict[tuple[str, str], list[Score]], labels: list[str]) -> None:
    rows = [sorted(_series(scores), key=lambda one: one.level(labels)) for scores in panels.values()]
    heights = [0.8 + 0.25 * len(series) for series in rows]
    figure.set_size_inches(3.2 + 3.4 * len(labels), 1.0 + sum(heights))
    grid = figure.subplots(len(rows), len(labels), squeeze=False, sharey="row", height_ratios=heights)
    for axes, series, ((target, _), scores) in zip(grid, rows, panels.items(), strict=True):
        for axis, label in zip(axes, labels, strict=True):
            for position, one in enumerate(series):
                if label in one.points:
                    _dot(axis, position, one.points[label])
                elif label in one.words:
                    word = axis.annotate("", (0.02, position), xycoords=("axes fraction", "data"), va="center")
                    put(word, one.words[label], 24).set(fontsize=6.5, color=GREY, bbox=BACKDROP)
            log_axis(axis, "x", _drawn_values(score for score in scores if score.sparsity == label), ticks=5)
            put(axis.set_title("", loc="left", fontsize=9), f"{target}, {_pattern_title(label)}", 60)
            axis.set_xlabel("perplexity (log scale)", fontsize=8)
            dress(axis)
            axis.tick_params(axis="y", left=False)
            _dense_line(axis.axvline, scores)
        axes[0].set_ylim(len(series) - 0.4, -0.6)
        names = [one.label for one in series]
        axes[0].set_yticks(range(len(series)), names, parse_math=False, fontsize=7.5)
        for tick, one in zip(axes[0].get_yticklabels(), series, strict=True):
            tick.set_color(AUTHOR_COLOURS[one.author])
    handles = [author_handle(author) for author in AUTHORS]
    bar = Line2D([], [], color=GREY, linewidth=1.2, label="95% interval")
    figure.legend(
        handles=[*handles, bar, _dense_handle()], loc="outside lower center", ncols=4, fontsize=8, frameon=False
    )


def _named(series: Sequence[_Series]) -> tuple[list[_Series], list[_Series]]:
    """Those that are drawn with a name, people's and the best of models', and the others."""
    people = [one for one in series if one.author == "human"]
    best = [one for one in series if one.author == "model"][: max(0, _NAMED - len(people))]
    chosen = {id(one) for one in (*people, *best)}
    return [one for one in series if id(one) in chosen], [one for one in series if id(one) not in chosen]


def _shared_looks(panels: Sequence[Sequence[_Series]]) -> dict[str, dict[str, Any]]:
    """By pruner a look that is the same in all panels; empty where there are not as many looks as pruners."""
    authors = {one.pruner: one.author for drawn in panels for one in drawn}
    most = max(Counter(authors.values()).values(), default=0)
    return {} if most > DISTINCT_LOOKS else dict(zip(authors, styles(authors.values()), strict=True))


def _dot(axis: Axes, position: int, score: Score) -> None:
    """A pruner's perplexity with its interval, and the number beside it."""
    colour = AUTHOR_COLOURS[score.author]
    value = _number(score)
    low, high = score.perplexity_low or value, score.perplexity_high or value
    if high < LARGEST:
        axis.plot([low, high], [position] * 2, color=colour, linewidth=1.2)
    face = colour if score.author == "human" else "white"
    axis.plot(
        [value], [position], marker=AUTHOR_MARKERS[score.author], color=colour, markerfacecolor=face, markersize=5
    )
    right = high if high < LARGEST else value
    axis.annotate(
        value_text(value),
        (right, position),
        (6, 0),
        textcoords="offset points",
        va="center",
        fontsize=6.5,
        color=GREY,
    )


def _series(scores: Sequence[Score]) -> list[_Series]:
    found: dict[str, _Series] = {}
    for score in scores:
        one = found.setdefault(score.pruner, _Series(score.pruner, shortened(score.pruner), score.author))
        value = _number(score)
        if score.status == Status.OK and not score.quarantined and 0 < value < LARGEST:
            one.points[score.sparsity] = score
        elif score.quarantined:
            one.words[score.sparsity] = "quarantined"
        else:
            one.words[score.sparsity] = score.status if math.isnan(value) else f"perplexity {value:.0e}"
    return list(found.values())


def _series_legend(
    axis: Axes, drawn: Sequence[_Series], looks: Sequence[dict[str, Any]], scores: Sequence[Score], others: int
) -> None:
    """Beside the panel, from the highest line to the lowest as in the panel, people's before models'."""
    entries: list[tuple[Line2D, str, bool]] = []
    for author, heading in AUTHORS.items():
        lines = [(one, style) for one, style in zip(drawn, looks, strict=True) if one.author == author]
        if lines:
            entries.append((Line2D([], [], linestyle="none"), heading, True))
            entries += [(Line2D([], [], **style), one.label, False) for one, style in reversed(lines)]
    if others:
        entries.append((Line2D([], [], **_FAINT), f"{others} more by models", False))
    if any(score.dense_perplexity for score in scores):
        entries.append((_dense_handle(), "dense model", False))
    legend_beside(axis, entries)


def _without_points(axis: Axes, series: Sequence[_Series]) -> None:
    """Errors stay visible: under the panel, each pruner that has no point, with its statuses."""
    if not series:
        return
    parts = [f"{one.label} ({', '.join(dict.fromkeys(one.words.values()))})" for one in series]
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part) > 105:
            lines.append("")
        lines[-1] += ("; " if lines[-1] else "") + part
    text = axis.annotate("", (0, 0), (0, -38), xycoords="axes fraction", textcoords="offset points", va="top")
    put(text, "Without a perplexity: " + ";\n".join(lines), 3000).set(fontsize=6.5, color=GREY)


def _dense_line(line: Any, scores: Sequence[Score]) -> None:
    dense = next((score.dense_perplexity for score in scores if score.dense_perplexity), None)
    if dense is not None:
        line(dense, color=GREY, linestyle=":", linewidth=1.2, zorder=1)


def _dense_handle() -> Line2D:
    return Line2D([], [], color=GREY, linestyle=":", linewidth=1.2, label="dense model")


def _pattern_label(pattern: str) -> str:
    return f"{pattern}\n({Sparsity.parse(pattern).ratio:g})"


def _pattern_title(label: str) -> str:
    ratio = Sparsity.parse(label)
    return f"{label} pattern (ratio {ratio.ratio:g})" if ratio.n else f"sparsity {label}"


def _number(score: Score) -> float:
    return math.nan if score.perplexity is None else score.perplexity


def _drawn_values(scores: Iterable[Score]) -> list[float]:
    drawn = [score for score in scores if not score.quarantined]
    numbers = [(one.perplexity, one.perplexity_low, one.perplexity_high, one.dense_perplexity) for one in drawn]
    return [value for row in numbers for value in row if value is not None]
