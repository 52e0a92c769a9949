"""A table of numbers and words, as Markdown, CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from harness.console import plain
from harness.csv_text import to_csv
from harness.names import slug
from harness.report.paper.draft import Value
from harness.stages.leaderboard import markdown, markdown_table

_MISSING = "—"
_PLAIN_BELOW = 1e7
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "—": r"\textemdash{}",
    "…": r"\ldots{}",
}
_SIZES = {"small": 106, "footnotesize": 119}
"""How many characters fit a line of 6.5 inches in each of LaTeX's sizes."""
_MOST_SHRUNK = 145
"""Characters of a line that is shrunk to fit; smaller ones could not be read."""
_CAPITAL = 1.4
"""Characters that a capital is as wide as."""


@dataclass(frozen=True)
class Column:
    """A heading, and a sub-heading where several columns stand under it. Texts are set from the left."""

    heading: str
    sub: str = ""
    is_text: bool = False
    wide: float = 0.0
    """The part of a line that it takes, where its own lines may be broken in print."""


@dataclass(frozen=True)
class Table:
    """One table for one target. `notes` are sentences."""

    number: int
    """Of the draft's table; 0 of one that the draft does not have."""
    caption: str
    target: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    notes: tuple[str, ...]


def as_markdown(table: Table) -> str:
    """With its caption above and its notes below."""
    headings = [f"{one.heading} ({one.sub})" if one.sub else one.heading for one in table.columns]
    body = markdown_table(headings, [[value_text(value) for value in row] for row in table.rows])
    notes = "".join(f"- {markdown(note)}\n" for note in table.notes)
    return f"## Table {table.number}: {markdown(table.caption)}, {markdown(table.target)}\n\n{body}\n{notes}"


def as_csv(tables: Sequence[Table]) -> str:
    """The tables of all targets under each other, at full precision; empty where nothing was measured."""
    frames = []
    for table in tables:
        headings = _distinct(f"{one.heading} ({one.sub})" if one.sub else one.heading for one in table.columns)
        cells = [[_cell(value) for value in row] for row in table.rows]
        frame = pd.DataFrame(cells, columns=headings, dtype="object")
        frame.insert(0, "Target", plain(table.target, 120))
        frames.append(frame)
    return to_csv(pd.concat(frames, ignore_index=True))


def as_latex(table: Table) -> str:
    r"""A `table` float with booktabs' rules; needs `\usepackage{booktabs,graphicx}` and T1 fonts.

    Of the largest size in which it fits the page, or shrunk; what would be too small to read stands in parts under each
    other, each with the first column.
    """
    everything = list(range(len(table.columns)))
    size = next((name for name, line in _SIZES.items() if _width(table, everything, line) <= line), None)
    is_shrunk = size is None and _width(table, everything, _MOST_SHRUNK) <= _MOST_SHRUNK
    parts = [everything] if size or is_shrunk else _parts(table, _SIZES["small"])
    grids = "\n\n\\medskip\n".join(_grid(table, places) for places in parts)
    if is_shrunk:
        size, grids = "footnotesize", f"\\resizebox{{\\linewidth}}{{!}}{{%\n{grids}}}"
    notes = " ".join(latex(note) for note in table.notes)
    caption = f"{latex(table.caption)}, {latex(table.target)}."
    label = f"tab:{table.number or slug(table.caption)}-{slug(table.target)}"
    body = f"{{\\{size or 'small'}\n{grids}\\par}}\n"
    return (
        f"\\begin{{table}}[tbp]\n\\centering\n\\caption{{{caption}}}\n\\label{{{label}}}\n{body}"
        f"\\smallskip\n{{\\footnotesize {notes}\\par}}\n\\end{{table}}\n"
    )


def latex(text: str) -> str:
    """Text of anybody as LaTeX that shows it: no command, no formula, one line."""
    cleaned = " ".join(plain(text, 400).split())
    # what T1 fonts lack would stop the typesetting
    shown = (c if c in _LATEX or c.isascii() or c in "äöüÄÖÜßéèêáàâóòôíúñç" else "?" for c in cleaned)
    escaped = "".join(_LATEX.get(c, f"\\{c}" if c in "&%$#_" else c) for c in shown)
    return escaped.replace("--", "-{}-").replace("--", "-{}-")  # hyphens stay hyphens


def latex_line(cells: Iterable[str]) -> str:
    """One row of a `tabular`, its texts as `latex` has them."""
    line = " & ".join(latex(cell) for cell in cells) + " \\\\\n"
    return f"{{}}{line}" if line[0] in "[*" else line  # else an option of what stands before it


def value_text(value: Value) -> str:
    """`5.677`, `48414.551` as in the draft, `3.2e+09`; a word as it is; a dash for what was not measured."""
    if value is None:
        return _MISSING
    if isinstance(value, str):
        return value
    return f"{value:.3f}" if value < _PLAIN_BELOW else f"{value:.2e}"


def _distinct(headings: Iterable[str]) -> list[str]:
    """The headings, numbered where they are equal: tables of several targets are joined by them."""
    found: list[str] = []
    for heading in ("Target", *headings):
        number = 1
        name = heading
        while name in found:
            number += 1
            name = f"{heading} ({number})"
        found.append(name)
    return found[1:]


def _cell(value: Value) -> object:
    return "" if value is None else repr(value) if isinstance(value, float) else plain(value, 400)


def _parts(table: Table, line: int) -> list[list[int]]:
    """The places of the columns of each part; columns of one heading stay together."""
    columns = table.columns
    parts, used = [[0]], _width(table, [0], line)
    for _, group in groupby(range(1, len(columns)), key=lambda place: columns[place].heading):
        places = list(group)
        width = _width(table, places, line)
        if len(parts[-1]) > 1 and used + width > line:
            parts.append([0])
            used = _width(table, [0], line)
        parts[-1] += places
        used += width
    return parts


def _width(table: Table, places: Sequence[int], line: int) -> float:
    """Characters of some columns, about, of a line of so many."""
    total = 0.0
    for heading, group in groupby(places, key=lambda place: table.columns[place].heading):
        cells = 0.0
        for place in group:
            column = table.columns[place]
            texts = [column.sub, *(value_text(row[place]) for row in table.rows)]
            cells += 2 + (column.wide * line or max(map(_length, texts)))
        total += max(cells, _length(heading) + 2)
    return total


def _length(text: str) -> float:
    """As so many characters in print."""
    return len(text) + (_CAPITAL - 1) * sum(map(str.isupper, text))


def _grid(table: Table, places: Sequence[int]) -> str:
    columns = [table.columns[place] for place in places]
    kinds = "".join(f"p{{{one.wide}\\linewidth}}" if one.wide else "l" if one.is_text else "r" for one in columns)
    apart = "\\addlinespace[2pt]\n" if any(one.wide for one in columns) else ""  # rows of several lines
    lines = apart.join(latex_line(value_text(row[place]) for place in places) for row in table.rows)
    begin = f"\\begin{{tabular}}{{@{{}}{kinds}@{{}}}}\n\\toprule\n{_headings(columns)}\\midrule\n"
    return f"{begin}{lines}\\bottomrule\n\\end{{tabular}}"


def _headings(columns: Sequence[Column]) -> str:
    """One line of headings, or two where there are sub-headings, with a rule under each heading of several columns."""
    groups = [(heading, len(list(part))) for heading, part in groupby(columns, key=lambda one: one.heading)]
    if not any(one.sub for one in columns):
        return latex_line(heading for heading, _ in groups)
    cells, rules, start = [], [], 1
    for heading, count in groups:
        cells.append(f"\\multicolumn{{{count}}}{{c}}{{{latex(heading)}}}" if count > 1 else latex(heading))
        if count > 1:
            rules.append(f"\\cmidrule(lr){{{start}-{start + count - 1}}}")
        start += count
    above = " & ".join(cells) + " \\\\\n"
    return above + "".join(rules) + ("\n" if rules else "") + latex_line(one.sub for one in columns)
