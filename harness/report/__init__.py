"""Store -> report: a leaderboard, its comparisons, causes and a figure; the same bytes for the same results."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from harness import atomic
from harness.beside import Helper, Here
from harness.csv_text import plain_columns, to_csv
from harness.overlap import nearest_references
from harness.report import causes, page
from harness.report.document import document
from harness.report.names import displayed
from harness.report.paper.table import as_latex
from harness.report.repair_table import repair_table, to_latex
from harness.report.results import Results, read
from harness.report.together import together
from harness.stages.leaderboard import leaderboard
from harness.standings import comparisons

__all__ = ["FILES", "PAGE", "REPAIR_FILES", "Results", "publish", "read", "together", "write"]

FILES = ("leaderboard.md", "leaderboard.csv", "comparisons.csv", "causes.csv", "causes.tex", "perplexity.png")
REPAIR_FILES = ("repairs.csv", "repairs.tex")
"""Where there were rounds of repairs."""
PAGE = "html/index.html"
"""What a browser opens; everything that it needs is beside it."""


def write(store_path: Path, folder: Path | None = None, *, rank_isolation: str | None = None) -> pd.DataFrame:
    """Write `FILES` and `PAGE` into `folder`, by default `report` beside the results, and return the leaderboard.

    Raises:
        StorageFault: the results cannot be read, or the folder cannot be written.
    """
    return publish(read(store_path, rank_isolation), store_path.parent / "report" if folder is None else folder)


def publish(results: Results, folder: Path, *, pages: bool = True, helper: Helper | None = None) -> pd.DataFrame:
    """As `write`, of results that were read; without `pages`, `FILES` alone.

    Raises:
        StorageFault: the folder cannot be written.
    """
    results = displayed(results)
    helper = helper or Here()
    png = helper.figure(results.scores, results.name)
    nearest = nearest_references(results.scores, results.zeros)
    frame = leaderboard(results.scores, rank_isolation=results.rank_isolation, nearest=nearest)
    pairs = comparisons(results.scores, rank_isolation=results.rank_isolation)
    compared = helper.csv(list(pairs.columns), plain_columns(pairs))
    failures = causes.by_cause(results)
    contents = (
        *(document(results, frame, pairs, failures).encode(), to_csv(frame).encode(), compared()),
        *(to_csv(failures).encode(), as_latex(causes.table(results, failures)).encode(), png()),
    )
    for name, content in zip(FILES, contents, strict=True):
        atomic.write(folder / name, content)
    if results.repairs:
        saved = repair_table(results.repairs)
        for name, text in zip(REPAIR_FILES, (to_csv(saved), to_latex(saved)), strict=True):
            atomic.write(folder / name, text.encode())
    if pages:
        page.write(results, frame, pairs, (folder / PAGE).parent)
    return frame
