"""The table of the rounds of repairs, as a frame and as LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from harness.console import plain
from harness.report.paper.table import latex, latex_line
from harness.report.repairs import Repairs
from harness.standings import NAME_CHARACTERS

NOTE = (
    "Rounds of their own after the one-pass result: each attempt that failed in every cell was asked for once more,"
    " with its code and its error. What they saved is no part of any ranking, and of no other table. OK is a perplexity"
    " in at least one cell; open is what met a fault of the harness, is quarantined or has not run."
)
_TEXTS = 2
"""Columns, from the left."""


def repair_table(found: Sequence[Repairs]) -> pd.DataFrame:
    """A row for each generator and template; a column for each round."""
    rounds = len(found[0].saved) if found else 0
    rows = [
        {
            "generator": plain(one.generator, NAME_CHARACTERS),
            "template": plain(one.template, NAME_CHARACTERS),
            "attempts": one.attempts,
            "OK in one pass": one.ok,
            **{f"saved by round {number}": one.saved[number - 1] for number in range(1, rounds + 1)},
            "NA": one.na,
            "still failing": one.failing,
            "open": one.open,
        }
        for one in found
    ]
    return pd.DataFrame(rows)


def to_latex(frame: pd.DataFrame) -> str:
    r"""A `tabular` with booktabs' rules, its note below; needs `\usepackage{booktabs}` and T1 fonts."""
    kinds = "l" * _TEXTS + "r" * (len(frame.columns) - _TEXTS)
    rows = "".join(latex_line(map(str, row)) for row in frame.itertuples(index=False, name=None))
    return (
        f"\\begin{{tabular}}{{@{{}}{kinds}@{{}}}}\n\\toprule\n{latex_line(frame.columns)}\\midrule\n{rows}\\bottomrule\n"
        f"\\end{{tabular}}\n\n{latex(NOTE)}\n"
    )
