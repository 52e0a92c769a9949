"""Results -> the leaderboard as a Markdown document."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from harness.curves import CLIFF
from harness.records import Measurement
from harness.report import causes
from harness.report.findings import Findings
from harness.report.models import headings, texts
from harness.report.repair_table import NOTE
from harness.stages.leaderboard import markdown, markdown_table, summary_headings, summary_texts, to_markdown

WINS = (
    "Won / tied / lost by the human pruner, over the rankings in which both stand; each pair is compared over the same"
    " windows and corrected for all pairs of its ranking (comparisons.csv has them all)."
)
MODELS = (
    "Passed: a perplexity at every sparsity that the study asks for. Ideas count alike in pass@1 and pass@k, which are"
    " unbiased; tokens and dollars are the endpoint's own count."
)
CURVES = (
    "Area: the mean of log(perplexity / dense) from no pruning to the last level; empty where a level is missing."
    f" Cliff: the sparsity at which perplexity reaches {CLIFF:g} times the dense one; empty where it does not."
)


def document(found: Findings) -> str:
    """The leaderboard and all that goes with it as a Markdown document."""
    results, authors, models, failures = found.results, found.authors, found.models, found.failures
    sparsities, against, curves, saved = found.sparsities, found.wins, found.curves, found.repairs
    notices = "".join(f"- {line}\n" for line in results.notices())
    protocols = "".join(f"- {markdown(protocol_text(measurement))}\n" for measurement in results.measurements.values())
    parts = [
        f"# {markdown(results.name)}: leaderboard\n",
        notices,
        "![Perplexity against sparsity](perplexity.png)\n",
        "## By author\n",
        markdown_table(summary_headings(authors), summary_texts(authors)),
        f"## By model\n\n{MODELS}\n" if len(models) else "",
        markdown_table(headings(models), texts(models)) if len(models) else "",
        to_markdown(found.rankings),
        f"## {causes.CAPTION}\n\n{causes.NOTE}\n" if len(failures) else "",
        markdown_table(causes.HEADINGS, causes.texts(failures)) if len(failures) else "",
        f"## Over sparsities\n\n{CURVES}\n" if len(curves) else "",
        markdown_table(list(curves.columns), curve_texts(curves)) if len(curves) else "",
        f"## Human against model\n\n{WINS}\n" if len(against) else "",
        markdown_table(list(against.columns), against.itertuples(index=False, name=None)) if len(against) else "",
        "## All sparsities\n\nThe perplexity, or the status that stands for it.\n",
        markdown_table(list(sparsities.columns), sparsities.itertuples(index=False, name=None)),
        f"## Repairs\n\n{NOTE}\n" if len(saved) else "",
        markdown_table(list(saved.columns), saved.itertuples(index=False, name=None)) if len(saved) else "",
        f"## Protocols\n\n{protocols}",
    ]
    if results.faults:
        rows = [(f.target, f.sparsity, f.pruner, f.status, f.attempts, f.message) for f in results.faults]
        parts.append("## Faults of the harness\n\nCounted nowhere above.\n")
        parts.append(markdown_table(["target", "sparsity", "pruner", "fault", "attempts", "message"], rows))
    return "\n".join(part for part in parts if part)


def curve_texts(curves: pd.DataFrame) -> Iterator[list[str]]:
    """The rows of `over_sparsities` as they read."""
    for *names, levels, area, cliff in curves.itertuples(index=False, name=None):
        numbers = ["" if pd.isna(value) else f"{value:.3f}" for value in (area, cliff)]
        yield [*(str(name) for name in names), str(levels), *numbers]


def protocol_text(measurement: Measurement) -> str:
    """What a protocol's id stands for; not yet escaped."""
    dense = f"; not pruned: {measurement.not_pruned}" if measurement.not_pruned else ""
    rounds = f", pruned in {measurement.rounds} rounds" if measurement.rounds != 1 else ""
    return (
        f"{measurement.id} on {measurement.target}: {measurement.windows} windows of {measurement.seqlen} tokens of"
        f" {measurement.evaluation}, {measurement.dtype} weights, {measurement.calibration_samples} calibration"
        f" sequences of {measurement.calibration}, {measurement.statistics} statistics{rounds}{dense}"
    )
