"""Results -> everything that the forms of a report show of them, worked out once."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from harness.curves import over_sparsities
from harness.overlap import Likenesses
from harness.report.causes import by_cause
from harness.report.models import by_model
from harness.report.repair_table import repair_table
from harness.report.results import Results
from harness.stages.leaderboard import Ranking, by_sparsity, rankings, summary
from harness.standings import wins


@dataclass(frozen=True, eq=False)
class Findings:
    """What there is to tell of `results`, whose pruners are named as `displayed` does."""

    results: Results
    frame: pd.DataFrame
    """Their `leaderboard`."""
    pairs: pd.DataFrame
    """Their `comparisons`."""
    alike: Likenesses
    rankings: list[Ranking]
    authors: pd.DataFrame
    """Their `summary`."""
    models: pd.DataFrame
    """`by_model`."""
    failures: pd.DataFrame
    """`by_cause`."""
    curves: pd.DataFrame
    """`over_sparsities`."""
    wins: pd.DataFrame
    sparsities: pd.DataFrame
    """`by_sparsity`."""
    repairs: pd.DataFrame
    """`repair_table`; empty without rounds of repairs."""

    @classmethod
    def of(cls, results: Results, frame: pd.DataFrame, pairs: pd.DataFrame, alike: Likenesses) -> Findings:
        """What follows from the first four."""
        return cls(
            results,
            frame,
            pairs,
            alike,
            rankings(frame),
            summary(frame),
            by_model(results),
            by_cause(results),
            over_sparsities(results.scores, results.rank_isolation),
            wins(pairs),
            by_sparsity(frame),
            repair_table(results.repairs),
        )
