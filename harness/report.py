"""Store -> report: a leaderboard, its comparisons and a figure; the same bytes for the same results."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from harness.curves import CLIFF, over_sparsities
from harness.errors import StorageFault
from harness.records import Measurement, Score
from harness.stages import figure
from harness.stages.leaderboard import (
    SUMMARY_HEADINGS,
    by_sparsity,
    leaderboard,
    markdown,
    markdown_table,
    summary,
    summary_texts,
    to_csv,
    to_markdown,
)
from harness.standings import comparisons, wins
from harness.store import CellFault, Store

FILES = ("leaderboard.md", "leaderboard.csv", "comparisons.csv", "perplexity.png")
_WINS = (
    "Won / tied / lost by the human pruner, over the rankings in which both stand; each pair is compared over the same"
    " windows and corrected for all pairs of its ranking (comparisons.csv has them all)."
)


_CURVES = (
    "Area: the mean of log(perplexity / dense) from no pruning to the last level; empty where a level is missing."
    f" Cliff: the sparsity at which perplexity reaches {CLIFF:g} times the dense one; empty where it does not."
)


@dataclass(frozen=True)
class Results:
    """Everything that a report is made from."""

    name: str
    planned: int
    scores: Sequence[Score]
    faults: Sequence[CellFault]
    measurements: Mapping[str, Measurement]
    rank_isolation: str

    def notices(self) -> list[str]:
        """What a reader must know before the numbers; one line each."""
        lines = [f"{len(self.scores)} of {self.planned} cells have a result."]
        if self.faults:
            lines.append(
                f"{len(self.faults)} cells met a fault of the harness: no result, no pruner's fault;"
                " `harness study run` tries them again."
            )
        outside = sorted({score.isolation for score in self.scores if score.perplexity is not None} - {"docker"})
        weaker = ", ".join(level for level in outside if not level.startswith("docker"))
        if weaker and self.rank_isolation == "any":
            lines.append(
                f"Ranked with the isolation {weaker}, by request: weaker than docker, and its times and memory are"
                " not comparable with others."
            )
        elif weaker:
            lines.append(f"Rows with the isolation {weaker} have no rank: add --rank-any-isolation to rank them.")
        return lines


def read(store_path: Path, rank_isolation: str | None = None) -> Results:
    """The results in a file; `rank_isolation` overrides what the study was run with.

    Raises:
        StorageFault: it is no usable results file.
    """
    with Store(store_path, create=False) as store:
        plan = store.plan()
        if plan is None:
            raise StorageFault(f"{store_path}: holds no study; run `harness study run` with it first")
        return Results(
            plan.name,
            len(plan.cells),
            store.scores(),
            store.faults(),
            store.measurements(),
            rank_isolation or plan.rank_isolation,
        )


def write(store_path: Path, folder: Path | None = None, *, rank_isolation: str | None = None) -> pd.DataFrame:
    """Write `FILES` into `folder`, by default `report` beside the results, and return the leaderboard.

    Raises:
        StorageFault: the results cannot be read, or the folder cannot be written.
    """
    results = read(store_path, rank_isolation)
    folder = store_path.parent / "report" if folder is None else folder
    frame = leaderboard(results.scores, rank_isolation=results.rank_isolation)
    pairs = comparisons(results.scores, rank_isolation=results.rank_isolation)
    picture = figure.to_png(figure.draw(results.scores, results.name))
    contents = (document(results, frame, pairs).encode(), to_csv(frame).encode(), to_csv(pairs).encode(), picture)
    for name, content in zip(FILES, contents, strict=True):
        _write(folder / name, content)
    return frame


def document(results: Results, frame: pd.DataFrame, pairs: pd.DataFrame) -> str:
    """The leaderboard as a Markdown document."""
    notices = "".join(f"- {line}\n" for line in results.notices())
    protocols = "".join(f"- {_protocol(measurement)}\n" for measurement in results.measurements.values())
    sparsities, against = by_sparsity(frame), wins(pairs)
    curves = over_sparsities(results.scores, results.rank_isolation)
    parts = [
        f"# {markdown(results.name)}: leaderboard\n",
        notices,
        "![Perplexity against sparsity](perplexity.png)\n",
        "## By author\n",
        markdown_table(SUMMARY_HEADINGS, summary_texts(summary(frame))),
        to_markdown(frame),
        f"## Over sparsities\n\n{_CURVES}\n" if len(curves) else "",
        markdown_table(list(curves.columns), _curve_texts(curves)) if len(curves) else "",
        f"## Human against model\n\n{_WINS}\n" if len(against) else "",
        markdown_table(list(against.columns), against.itertuples(index=False, name=None)) if len(against) else "",
        "## All sparsities\n\nThe perplexity, or the status that stands for it.\n",
        markdown_table(list(sparsities.columns), sparsities.itertuples(index=False, name=None)),
        f"## Protocols\n\n{protocols}",
    ]
    if results.faults:
        rows = [(f.target, f.sparsity, f.pruner, f.status, f.attempts, f.message) for f in results.faults]
        parts.append("## Faults of the harness\n\nCounted nowhere above.\n")
        parts.append(markdown_table(["target", "sparsity", "pruner", "fault", "attempts", "message"], rows))
    return "\n".join(part for part in parts if part)


def _curve_texts(curves: pd.DataFrame) -> Iterator[list[str]]:
    for *names, levels, area, cliff in curves.itertuples(index=False, name=None):
        numbers = ["" if pd.isna(value) else f"{value:.3f}" for value in (area, cliff)]
        yield [*(str(name) for name in names), str(levels), *numbers]


def _protocol(measurement: Measurement) -> str:
    dense = f"; not pruned: {markdown(measurement.not_pruned)}" if measurement.not_pruned else ""
    rounds = f", pruned in {measurement.rounds} rounds" if measurement.rounds != 1 else ""
    return (
        f"{markdown(measurement.id)} on {markdown(measurement.target)}: {measurement.windows} windows of"
        f" {measurement.seqlen} tokens of {markdown(measurement.evaluation)}, {measurement.dtype} weights,"
        f" {measurement.calibration_samples} calibration sequences of {markdown(measurement.calibration)},"
        f" {markdown(measurement.statistics)} statistics{rounds}{dense}"
    )


def _write(path: Path, content: bytes) -> None:
    """All of it or nothing: readers never see half a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(name).chmod(0o644)
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise StorageFault(f"{path}: cannot be written ({error.strerror}); make room, or give another place") from error
