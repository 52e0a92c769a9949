"""Scores -> the figure: perplexity against sparsity, of people's and of models' pruners, for screen and print.

With three ratios or more it is lines over the sparsity; with fewer it is a dot a pruner, sorted by perplexity. N:M
patterns have panels of their own. Authors differ by fill, line style and colour, so that any one of them is enough.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from harness.console import plain
from harness.records import Score, Sparsity
from harness.status import Status

_DPI = 200
_LABEL_CHARACTERS = 38
_LINE_RATIOS = 3
_LARGEST = 1e100  # beyond, there is no axis to draw it on
_GREY = "#5f5f5f"
_BACKDROP = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
# cool against warm hues, out of Okabe and Ito's and Tol's colours, which most people tell apart
_COLOURS = {
    "human": ("#0072B2", "#009E73", "#56B4E9", "#332288", "#117733"),
    "model": ("#D55E00", "#CC79A7", "#E69F00", "#882255", "#8C510A"),
}
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
_AUTHORS = {"human": "written by a person", "model": "written by a model"}
_AUTHOR_COLOURS = {author: colours[0] for author, colours in _COLOURS.items()}
_AUTHOR_MARKERS = {"human": "o", "model": "D"}


@dataclass
class _Series:
    """One pruner on one target."""

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
    figure = Figure(layout="constrained", dpi=_DPI)
    _put(figure.suptitle(""), f"{title}: perplexity after pruning, lower is better", 90).set_fontsize(11)
    if not scores:
        figure.set_size_inches(6, 2)
        figure.text(0.5, 0.4, "no scores yet", ha="center", color=_GREY)
    elif len(ratios) >= _LINE_RATIOS:
        _draw_lines(figure, panels, ratios, patterns)
    else:
        _draw_dots(figure, panels, [*ratios, *patterns])
    return figure


def to_png(figure: Figure) -> bytes:
    """The same bytes for the same figure."""
    file = BytesIO()
    figure.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
    return file.getvalue()


def _draw_lines(
    figure: Figure, panels: dict[tuple[str, str], list[Score]], ratios: list[str], patterns: list[str]
) -> None:
    figure.set_size_inches(10, 0.6 + 4.6 * len(panels))
    widths = [5.0, 0.5 + 0.5 * len(patterns)] if patterns else [1.0]
    grid = figure.subplots(len(panels), len(widths), squeeze=False, sharey="row", width_ratios=widths)
    for axes, ((target, _), scores) in zip(grid, panels.items(), strict=True):
        series = sorted(_series(scores), key=lambda one: one.level([*reversed(ratios), *patterns]))
        drawn = [one for one in series if one.points]
        styles = _styles(drawn)
        for one, style in zip(drawn, styles, strict=True):
            xs = [ratio for ratio in ratios if ratio in one.points]
            if xs:
                axes[0].plot([float(x) for x in xs], [_number(one.points[x]) for x in xs], **style)
            for position, pattern in enumerate(patterns):
                if pattern in one.points:
                    alone = {**style, "linestyle": "none"}
                    axes[1].plot([position], [_number(one.points[pattern])], **alone)
        _log_axis(axes[0], "y", scores, ticks=9)
        _put(axes[0].set_title("", loc="left", fontsize=9), target, 60)
        axes[0].set_xlabel("sparsity (fraction of zeros)")
        axes[0].set_xticks(_apart([float(ratio) for ratio in ratios]))
        axes[0].xaxis.set_major_formatter("{x:g}")
        axes[0].set_ylabel("perplexity (log scale)")
        if patterns:
            axes[1].set_xticks(range(len(patterns)), [_pattern_label(pattern) for pattern in patterns], fontsize=8)
            axes[1].set_xlim(-0.6, len(patterns) - 0.4)
            axes[1].set_title("N:M patterns", loc="left", fontsize=9)
            axes[1].tick_params(left=False)
        for axis in axes:
            _dress(axis)
            _dense_line(axis.axhline, scores)
        _series_legend(axes[-1], drawn, styles, scores)
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
                    _put(word, one.words[label], 24).set(fontsize=6.5, color=_GREY, bbox=_BACKDROP)
            _log_axis(axis, "x", [score for score in scores if score.sparsity == label], ticks=5)
            _put(axis.set_title("", loc="left", fontsize=9), f"{target}, {_pattern_title(label)}", 60)
            axis.set_xlabel("perplexity (log scale)", fontsize=8)
            _dress(axis)
            axis.tick_params(axis="y", left=False)
            _dense_line(axis.axvline, scores)
        axes[0].set_ylim(len(series) - 0.4, -0.6)
        names = [one.label for one in series]
        axes[0].set_yticks(range(len(series)), names, parse_math=False, fontsize=7.5)
        for tick, one in zip(axes[0].get_yticklabels(), series, strict=True):
            tick.set_color(_AUTHOR_COLOURS[one.author])
    handles = [_author_handle(author) for author in _AUTHORS]
    bar = Line2D([], [], color=_GREY, linewidth=1.2, label="95% interval")
    figure.legend(
        handles=[*handles, bar, _dense_handle()], loc="outside lower center", ncols=4, fontsize=8, frameon=False
    )


def _dot(axis: Axes, position: int, score: Score) -> None:
    """A pruner's perplexity with its interval, and the number beside it."""
    colour = _AUTHOR_COLOURS[score.author]
    value = _number(score)
    low, high = score.perplexity_low or value, score.perplexity_high or value
    if high < _LARGEST:
        axis.plot([low, high], [position] * 2, color=colour, linewidth=1.2)
    face = colour if score.author == "human" else "white"
    axis.plot(
        [value], [position], marker=_AUTHOR_MARKERS[score.author], color=colour, markerfacecolor=face, markersize=5
    )
    right = high if high < _LARGEST else value
    axis.annotate(
        _value_text(value),
        (right, position),
        (6, 0),
        textcoords="offset points",
        va="center",
        fontsize=6.5,
        color=_GREY,
    )


def _series(scores: Sequence[Score]) -> list[_Series]:
    found: dict[str, _Series] = {}
    for score in scores:
        one = found.setdefault(score.pruner, _Series(_shortened(score.pruner), score.author))
        value = _number(score)
        if score.status == Status.OK and not score.quarantined and 0 < value < _LARGEST:
            one.points[score.sparsity] = score
        elif score.quarantined:
            one.words[score.sparsity] = "quarantined"
        else:
            one.words[score.sparsity] = score.status if math.isnan(value) else f"perplexity {value:.0e}"
    return list(found.values())


def _styles(series: Sequence[_Series]) -> list[dict[str, Any]]:
    """One look a pruner: people's are filled and solid, models' hollow and dashed."""
    counts = {"human": 0, "model": 0}
    styles = []
    for one in series:
        index = counts[one.author]
        counts[one.author] += 1
        colours = _COLOURS[one.author]
        colour = colours[index % len(colours)]
        is_human = one.author == "human"
        styles.append(
            {
                "color": colour,
                "marker": _MARKERS[index % len(_MARKERS)],
                "markerfacecolor": colour if is_human else "white",
                "markersize": 5,
                "linestyle": "-" if is_human else (0, (4, 2)),
                "linewidth": 1.4,
            }
        )
    return styles


def _series_legend(
    axis: Axes, drawn: Sequence[_Series], styles: Sequence[dict[str, Any]], scores: Sequence[Score]
) -> None:
    """Beside the panel, from the highest line to the lowest as in the panel, people's before models'."""
    entries: list[tuple[Line2D, str, bool]] = []
    for author, heading in _AUTHORS.items():
        lines = [(one, style) for one, style in zip(drawn, styles, strict=True) if one.author == author]
        if lines:
            entries.append((Line2D([], [], linestyle="none"), heading, True))
            entries += [(Line2D([], [], **style), one.label, False) for one, style in reversed(lines)]
    if any(score.dense_perplexity for score in scores):
        entries.append((_dense_handle(), "dense model", False))
    # the texts are set afterwards: a label that begins with an underscore would be left out
    legend = axis.legend(
        [handle for handle, _, _ in entries],
        [str(index) for index in range(len(entries))],
        loc="upper left",
        bbox_to_anchor=(1.02, 1.0),
        borderaxespad=0,
        fontsize=7.5,
        frameon=False,
        handlelength=3.2,
    )
    for text, (_, label, is_heading) in zip(legend.get_texts(), entries, strict=True):
        _put(text, label).set_fontweight("bold" if is_heading else "normal")


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
    _put(text, "Without a perplexity: " + ";\n".join(lines), 3000).set(fontsize=6.5, color=_GREY)


def _log_axis(axis: Axes, which: str, scores: Sequence[Score], ticks: int) -> None:
    """A log axis whose ticks are plain numbers, enough of them whether it spans 20% or five decades."""
    drawn = [score for score in scores if not score.quarantined]
    numbers = [(one.perplexity, one.perplexity_low, one.perplexity_high, one.dense_perplexity) for one in drawn]
    values = [value for row in numbers for value in row if value is not None]
    finite = [value for value in values if 0 < value < _LARGEST]
    low, high = (min(finite), max(finite)) if finite else (1.0, 10.0)
    getattr(axis, f"set_{which}scale")("log")
    margin = 0.08 * max(math.log(high / low), 0.2)
    right = 3.0 if which == "x" else 1.0  # room for the number beside the last dot
    getattr(axis, f"set_{which}lim")(low * math.exp(-margin), high * math.exp(margin * right))
    dimension = getattr(axis, f"{which}axis")
    if high / low < 4:
        dimension.set_major_locator(MaxNLocator(ticks - 1, steps=[1, 2, 5, 10]))
    else:
        subs = (1.0, 2.0, 5.0) if high / low < 10 ** (ticks / 3) else (1.0,)
        dimension.set_major_locator(LogLocator(subs=subs, numticks=ticks + 1))
    dimension.set_major_formatter(FuncFormatter(lambda value, _: _tick_text(value)))
    dimension.set_minor_locator(NullLocator())
    dimension.set_minor_formatter(NullFormatter())


def _apart(ratios: list[float]) -> list[float]:
    """The ratios, but for those whose tick labels would touch the one before."""
    gap = 0.055 * (ratios[-1] - ratios[0])
    kept = ratios[:1]
    for ratio in ratios[1:]:
        if ratio - kept[-1] >= gap:
            kept.append(ratio)
    return kept


def _dress(axis: Axes) -> None:
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def _dense_line(line: Any, scores: Sequence[Score]) -> None:
    dense = next((score.dense_perplexity for score in scores if score.dense_perplexity), None)
    if dense is not None:
        line(dense, color=_GREY, linestyle=":", linewidth=1.2, zorder=1)


def _dense_handle() -> Line2D:
    return Line2D([], [], color=_GREY, linestyle=":", linewidth=1.2, label="dense model")


def _author_handle(author: str) -> Line2D:
    colour = _AUTHOR_COLOURS[author]
    return Line2D(
        [],
        [],
        linestyle="none",
        marker=_AUTHOR_MARKERS[author],
        color=colour,
        markerfacecolor=colour if author == "human" else "white",
        label=_AUTHORS[author],
    )


def _put(text: Text, value: str, limit: int = _LABEL_CHARACTERS + 2) -> Text:
    """Set a text as it is: bounded, and with no `$` of a candidate taken for a formula."""
    text.set_parse_math(False)
    text.set_text(plain(value, limit))
    return text


def _shortened(name: str) -> str:
    """The middle goes: an id tells by its begin and its end."""
    name = " ".join(plain(name).split())
    if len(name) <= _LABEL_CHARACTERS:
        return name
    tail = name[max(name.rfind("/"), len(name) - _LABEL_CHARACTERS // 3) :]
    return f"{name[: _LABEL_CHARACTERS - len(tail) - 1]}…{tail}"


def _pattern_label(pattern: str) -> str:
    return f"{pattern}\n({Sparsity.parse(pattern).ratio:g})"


def _pattern_title(label: str) -> str:
    ratio = Sparsity.parse(label)
    return f"{label} pattern (ratio {ratio.ratio:g})" if ratio.n else f"sparsity {label}"


def _tick_text(value: float) -> str:
    if value >= 1e7:
        return f"{value:.0e}".replace("e+0", "e").replace("e+", "e")
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _value_text(value: float) -> str:
    if value >= 1e7:
        return f"{value:.1e}".replace("e+0", "e").replace("e+", "e")
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _number(score: Score) -> float:
    return math.nan if score.perplexity is None else score.perplexity
