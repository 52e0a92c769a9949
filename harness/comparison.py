"""Which pruners can be told apart on the windows that they share: paired bootstrap, Holm's correction, shared ranks.

Two pruners that were scored on the same windows share how difficult each window is, so their losses are compared window
by window. A window's loss is its mean next-token cross-entropy in nats; the difference of two mean losses is the
logarithm of the ratio of their perplexities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from harness.metrics import Losses, student_t_tails

Key = TypeVar("Key")
Floats = npt.NDArray[np.float64]
Draws = npt.NDArray[np.float32]

RESAMPLES = 2000
LEVEL = 0.95
_SEED = 20_240_601
"""Fixed, so that a report is the same whenever it is made."""
_PAIRS_AT_ONCE = 256
_LEAST_P = 1e-12
"""No smaller p is claimed: the tails are not known so well."""
_LEAST_ERROR = 1e-6
"""Nats; below it is nothing but rounding, as losses are of float32."""


@dataclass(frozen=True, slots=True)
class Comparison(Generic[Key]):
    """Two pruners by key: `ratio` is the perplexity of the first over that of the second, with its interval.

    `p` is that of equal mean losses, two-sided; `p_holm` the same, corrected for all pairs that were compared at once.
    """

    first: Key
    second: Key
    ratio: float
    low: float
    high: float
    p: float
    p_holm: float

    @property
    def is_significant(self) -> bool:
        """Whether the two can be told apart at `LEVEL`."""
        return self.p_holm < 1 - LEVEL


def compared(losses: Mapping[Key, Losses], seed_errors: Mapping[Key, float] | None = None) -> list[Comparison[Key]]:
    """Every pair of pruners, from the losses of each, over the same windows in the same order.

    `seed_errors`, in nats, are those of `metrics.seed_error` for losses that are means over seeds; the pair's own are
    added to the error over windows, in squares.

    The studentised bootstrap (Efron and Tibshirani 1993, sections 12.5 and 16.4): windows are drawn with replacement
    `RESAMPLES` times, the same draws for all pairs, and t* = (mean* - mean) / error* says how far the mean difference
    strays from what it estimates, in units of its standard error. Where no draw strays as far as what was observed, p
    is Student's, but no more than one draw's share. Then Holm 1979 over all pairs.

    Raises:
        ValueError: the numbers of windows differ, or there are fewer than two.
    """
    errors = seed_errors or {}
    return list(_compared(tuple((name, tuple(_vector(v)), errors.get(name, 0.0)) for name, v in losses.items())))


@lru_cache(maxsize=64)
def _compared(losses: tuple[tuple[Key, tuple[float, ...], float], ...]) -> tuple[Comparison[Key], ...]:
    """A report asks for the same comparisons more than once."""
    names = [name for name, _, _ in losses]
    if len(names) < 2:
        return ()
    table = np.column_stack([values for _, values, _ in losses])
    seeds = np.array([error for _, _, error in losses])
    pairs = list(combinations(range(len(names)), 2))
    counts = _draws(len(table))
    found = []
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        some = pairs[start : start + _PAIRS_AT_ONCE]
        differences = table[:, [i for i, _ in some]] - table[:, [j for _, j in some]]
        added = np.hypot(seeds[[i for i, _ in some]], seeds[[j for _, j in some]])
        numbers = np.column_stack(_bootstrapped(differences, counts, added)).tolist()
        for (i, j), (ratio, low, high, p) in zip(some, numbers, strict=True):
            found.append(Comparison(names[i], names[j], ratio, low, high, p, p_holm=1))
    corrected = holm([one.p for one in found])
    return tuple(replace(one, p_holm=p) for one, p in zip(found, corrected, strict=True))


def ranks(losses: Mapping[Key, Losses], comparisons: Sequence[Comparison[Key]]) -> dict[Key, int]:
    """For each pruner one more than the number of those that are significantly better; equal ranks are ties."""
    worse = dict.fromkeys(losses, 0)
    for one in comparisons:
        if one.is_significant:
            worse[one.first if one.ratio > 1 else one.second] += 1
    return {name: 1 + count for name, count in worse.items()}


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of p-values: the chance of any false claim among all of them is bounded."""
    order = np.argsort(values, kind="stable")
    stepped = np.asarray(values, dtype=np.float64)[order] * np.arange(len(values), 0, -1)
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return [float(p) for p in corrected]


def _bootstrapped(differences: Floats, counts: Draws, added: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Ratio, its bounds, and p, each [pairs], of differences [windows, pairs] and draws [windows, resamples].

    `added`, [pairs], is the error that seeds add.

    What is drawn is of float32, as losses are; a report of a hundred pruners has 70,000 pairs.
    """
    windows = len(differences)
    means = differences.mean(axis=0)
    errors = np.maximum(differences.std(axis=0, ddof=1) / np.sqrt(windows), _LEAST_ERROR)
    centred = (differences - means).T
    strays = centred.astype(np.float32) @ counts / windows  # [pairs, resamples]: mean* - mean
    spread = np.square(centred).astype(np.float32) @ counts / windows
    spread -= np.square(strays)
    np.maximum(spread, 0, out=spread)
    spread /= windows - 1
    np.sqrt(spread, out=spread)
    np.maximum(spread, _LEAST_ERROR, out=spread)
    strays /= spread
    errors = np.hypot(errors, added)
    observed = np.abs(means) / errors
    low, high = np.quantile(strays, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1).astype(np.float64)
    np.abs(strays, out=strays)
    beyond = (strays >= observed.astype(np.float32)[:, None]).sum(axis=1)
    p = (1 + beyond) / (1 + counts.shape[1])
    p = np.where(beyond == 0, np.minimum(p, np.maximum(student_t_tails(observed, windows - 1), _LEAST_P)), p)
    p = np.where(np.isfinite(observed), p, 1)  # a loss that is not finite tells nothing apart
    with np.errstate(over="ignore"):
        return np.exp(means), np.exp(means - high * errors), np.exp(means - low * errors), p


def _draws(windows: int) -> Draws:
    """How often each window is drawn in each resample, [windows, resamples]."""
    if windows < 2:
        raise ValueError("one window says nothing of how much the text matters: nothing can be told apart")
    drawn = np.random.default_rng(_SEED).multinomial(windows, np.full(windows, 1 / windows), size=RESAMPLES)
    return np.ascontiguousarray(drawn.T, dtype=np.float32)


def _vector(losses: Losses) -> Floats:
    return np.asarray(losses, dtype=np.float64).reshape(-1)
