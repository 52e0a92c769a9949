"""Store -> report: a leaderboard, its comparisons, causes and a figure; the same bytes for the same results."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from harness import atomic
from harness.beside import Helper, Here
from harness.csv_text import plain_columns, to_csv
from harness.overlap import likenesses, nearest_references
from harness.report import causes, page
from harness.report.document import document
from harness.report.findings import Findings
from harness.report.names import displayed
from harness.report.paper.table import as_latex
from harness.report.repair_table import to_latex
from harness.report.results import Results, read
from harness.report.together import together
from harness.stages.leaderboard import leaderboard
from harness.standings import comparisons

__all__ = ["FILES", "PAGE", "REPAIR_FILES", "Findings", "Results", "publish", "read", "together", "write"]

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
    return publish(read(store_path, rank_isolation), store_path.parent / "report" if folder is None else folder).frame


def publish(results: Results, folder: Path, *, pages: bool = True, helper: Helper | None = None) -> Findings:
    """As `write`, of results that were read; without `pages`, `FILES` alone.

    Raises:
        StorageFault: the folder cannot be written.
    """
    results = displayed(results)
    helper = helper or Here()
    png = helper.figure(results.scores, results.name)
    alike = likenesses(results.scores, results.zeros)
    nearest = nearest_references(results.scores, alike)
    frame = leaderboard(results.scores, rank_isolation=results.rank_isolation, nearest=nearest)
    pairs = comparisons(results.scores, rank_isolation=results.rank_isolation)
    compared = helper.csv(list(pairs.columns), plain_columns(pairs))
    found = Findings.of(results, frame, pairs, alike)
    texts = [document(found), to_csv(frame), to_csv(found.failures), as_latex(causes.table(results, found.failures))]
    leaders, table, *failures = (text.encode() for text in texts)
    for name, content in zip(FILES, (leaders, table, compared(), *failures, png()), strict=True):
        atomic.write(folder / name, content)
    if results.repairs:
        for name, text in zip(REPAIR_FILES, (to_csv(found.repairs), to_latex(found.repairs)), strict=True):
            atomic.write(folder / name, text.encode())
    if pages:
        page.write(found, (folder / PAGE).parent)
    return found
