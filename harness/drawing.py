"""The look of every figure: colours, markers, log axes, labels that are only text; for screen and print.

Authors differ by fill, line style and colour, so that any one of them is enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from harness.console import plain

DPI = 200
LARGEST = 1e100
"""Beyond, there is no axis to draw it on."""
GREY = "#5f5f5f"
BACKDROP = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
AUTHORS = {"human": "written by a person", "model": "written by a model"}
LABEL_CHARACTERS = 38
# cool against warm hues, out of Okabe and Ito's and Tol's colours, which most people tell apart
COLOURS = {
    "human": ("#0072B2", "#009E73", "#56B4E9", "#332288", "#117733"),
    "model": ("#D55E00", "#CC79A7", "#E69F00", "#882255", "#8C510A"),
}
AUTHOR_COLOURS = {author: colours[0] for author, colours in COLOURS.items()}
AUTHOR_MARKERS = {"human": "o", "model": "D"}
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
DISTINCT_LOOKS = len(_MARKERS)
"""Of the pruners of one author; more would repeat them."""


def to_png(figure: Figure) -> bytes:
    """The same bytes for the same figure."""
    file = BytesIO()
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()


def to_pdf(figure: Figure) -> bytes:
    """For print: vectors, fonts embedded; the same bytes for the same figure."""
    file = BytesIO()
    with rc_context({"pdf.fonttype": 42}):
        figure.savefig(file, format="pdf", metadata={"CreationDate": None, "Producer": None, "Creator": None})
    return file.getvalue()


def styles(authors: Iterable[str]) -> list[dict[str, Any]]:
    """One look a pruner, by its author: people's are filled and solid, models' hollow and dashed."""
    counts = dict.fromkeys(COLOURS, 0)
    looks = []
    for author in authors:
        index, colours = counts[author], COLOURS[author]
        counts[author] += 1
        colour = colours[index % len(colours)]
        is_human = author == "human"
        looks.append(
            {
                "color": colour,
                "marker": _MARKERS[index % len(_MARKERS)],
                "markerfacecolor": colour if is_human else "white",
                "markersize": 5,
                "linestyle": "-" if is_human else (0, (4, 2)),
                "linewidth": 1.4,
            }
        )
    return looks


def log_axis(axis: Axes, which: str, values: Iterable[float], ticks: int) -> None:
    """A log axis whose ticks are plain numbers, enough of them whether it spans 20% or five decades."""
    finite = [value for value in values if 0 < value < LARGEST]
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
    dimension.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value)))
    dimension.set_minor_locator(NullLocator())
    dimension.set_minor_formatter(NullFormatter())


def apart(ratios: list[float]) -> list[float]:
    """The ratios, but for those whose tick labels would touch the one before."""
    gap = 0.06 * (ratios[-1] - ratios[0])
    kept = ratios[:1]
    for ratio in ratios[1:]:
        if ratio - kept[-1] >= gap:
            kept.append(ratio)
    return kept


def dress(axis: Axes) -> None:
    """A pale grid, no frame above and at the right."""
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def legend_beside(axis: Axes, entries: Sequence[tuple[Line2D, str, bool]]) -> None:
    """A legend at the right of a panel: handles, their texts, and whether each is a heading."""
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
        put(text, label).set_fontweight("bold" if is_heading else "normal")


def author_handle(author: str) -> Line2D:
    """How an author's pruners look, for a legend."""
    colour = AUTHOR_COLOURS[author]
    return Line2D(
        [],
        [],
        linestyle="none",
        marker=AUTHOR_MARKERS[author],
        color=colour,
        markerfacecolor=colour if author == "human" else "white",
        label=AUTHORS[author],
    )


def put(text: Text, value: str, limit: int = LABEL_CHARACTERS + 2) -> Text:
    """Set a text as it is: bounded, and with no `$` of a candidate taken for a formula."""
    text.set_parse_math(False)
    text.set_text(plain(value, limit))
    return text


def shortened(name: str) -> str:
    """The middle goes: an id tells by its begin and its end."""
    name = " ".join(plain(name).split())
    if len(name) <= LABEL_CHARACTERS:
        return name
    tail = name[max(name.rfind("/"), len(name) - LABEL_CHARACTERS // 3) :]
    return f"{name[: LABEL_CHARACTERS - len(tail) - 1]}…{tail}"


def tick_text(value: float) -> str:
    """`12.5`, `48,415`, `3e8`."""
    if value >= 1e7:
        return f"{value:.0e}".replace("e+0", "e").replace("e+", "e")
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def value_text(value: float) -> str:
    """As `tick_text`, with a digit more."""
    if value >= 1e7:
        return f"{value:.1e}".replace("e+0", "e").replace("e+", "e")
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
