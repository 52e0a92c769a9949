"""One score out of the runs of a pruner with several seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from harness import metrics
from harness.records import Score


def of_seed(score: Score, seed: int) -> Score:
    """A failure with one of several seeds, which is the failure of the cell."""
    error = score.error and replace(score.error, message=f"with seed {seed}: {score.error.message}")
    return replace(score, error=error)


def over_seeds(found: Sequence[Score]) -> Score:
    """One score out of those of several seeds: the mean of their losses, window by window."""
    first = found[0]
    if len(found) == 1:
        return first
    perplexities = [score.perplexity or math.inf for score in found]
    losses = [sum(window) / len(found) for window in zip(*(score.window_losses or () for score in found), strict=True)]
    bounds = metrics.interval(losses, seed_error=metrics.seed_error(perplexities, len(losses)))
    low, high = bounds if bounds and math.isfinite(bounds[1]) else (None, None)
    return replace(
        first,
        perplexity=metrics.perplexity(losses),
        perplexity_low=low,
        perplexity_high=high,
        window_losses=tuple(losses),
        quarantined=any(score.quarantined for score in found),
        seed_perplexities=tuple(perplexities),
    )
