"""Which pruners can be told apart on the windows that they share: paired bootstrap, Holm's correction, shared ranks.

Two pruners that were scored on the same windows share how difficult each window is, so their losses are compared window
by window. A window's loss is its mean next-token cross-entropy in nats; the difference of two mean losses is the
logarithm of the ratio of their perplexities.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from threading import Lock, local
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from harness.metrics import Losses, student_t_tails

Key = TypeVar("Key")
Places = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]
Draws = npt.NDArray[np.float32]

RESAMPLES = 2000
LEVEL = 0.95
_SEED = 20_240_601
"""Fixed, so that a report is the same whenever it is made."""
_PAIRS_AT_ONCE = 4096
"""Bounds what their differences take."""
_ROWS_AT_ONCE = 128
"""Pairs of one thread: what it works on fits its cache, and it seldom waits for the others."""
_ONE_AT_A_TIME = Lock()
"""The number of BLAS's threads is that of the process."""
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


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Every pair of pruners by their places, as arrays [pairs]; the numbers are those of `Comparison`."""

    first: Places
    second: Places
    ratio: Floats
    low: Floats
    high: Floats
    p: Floats
    p_holm: Floats

    @property
    def is_significant(self) -> npt.NDArray[np.bool_]:
        """Which two can be told apart at `LEVEL`."""
        return self.p_holm < 1 - LEVEL


def compared(losses: Mapping[Key, Losses], seed_errors: Mapping[Key, float] | None = None) -> list[Comparison[Key]]:
    """Every pair of pruners by key, as `pairs` finds them.

    Raises:
        ValueError: as `pairs`.
    """
    names, found = list(losses), pairs(losses, seed_errors)
    columns = (found.ratio, found.low, found.high, found.p, found.p_holm)
    places = zip(found.first.tolist(), found.second.tolist(), strict=True)
    numbers = zip(*(column.tolist() for column in columns), strict=True)
    return [Comparison(names[i], names[j], *rest) for (i, j), rest in zip(places, numbers, strict=True)]


def pairs(losses: Mapping[Key, Losses], seed_errors: Mapping[Key, float] | None = None) -> Pairs:
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
    vectors = tuple(tuple(_vector(values).tolist()) for values in losses.values())
    return _pairs(vectors, tuple(errors.get(name, 0.0) for name in losses))


@lru_cache(maxsize=1024)
def _pairs(losses: tuple[tuple[float, ...], ...], seed_errors: tuple[float, ...]) -> Pairs:
    """A report asks for the same comparisons more than once, and has as many as targets and sparsities."""
    if len(losses) < 2:
        nobody, nothing = np.zeros(0, np.intp), np.zeros(0)
        return Pairs(nobody, nobody, nothing, nothing, nothing, nothing, nothing)
    table = np.column_stack([np.asarray(values) for values in losses])
    seeds = np.array(seed_errors)
    first, second = np.triu_indices(len(losses), k=1)
    shares = _draws(len(table))

    parts = []
    with _ONE_AT_A_TIME, _libraries().limit(limits=1, user_api="blas"):  # last digits depend on its threads
        for start in range(0, len(first), _PAIRS_AT_ONCE):
            one, other = (places[start : start + _PAIRS_AT_ONCE] for places in (first, second))
            parts.append(_bootstrapped(table[:, one] - table[:, other], shares, np.hypot(seeds[one], seeds[other])))
    ratio, low, high, p = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Pairs(first, second, ratio, low, high, p, np.array(holm(p.tolist())))


def ranks(losses: Mapping[Key, Losses], seed_errors: Mapping[Key, float] | None = None) -> dict[Key, int]:
    """For each pruner one more than the number of those that are significantly better; equal ranks are ties."""
    found = pairs(losses, seed_errors)
    worse = np.where(found.ratio > 1, found.first, found.second)[found.is_significant]
    return dict(zip(losses, (1 + np.bincount(worse, minlength=len(losses))).tolist(), strict=True))


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of p-values: the chance of any false claim among all of them is bounded."""
    order = np.argsort(values, kind="stable")
    stepped = np.asarray(values, dtype=np.float64)[order] * np.arange(len(values), 0, -1)
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return [float(p) for p in corrected]


def _bootstrapped(differences: Floats, shares: Draws, added: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Ratio, its bounds, and p, each [pairs], of differences [windows, pairs] and `_draws` [windows, resamples].

    `added`, [pairs], is the error that seeds add.

    What is drawn is of float32, as losses are; a report of a hundred pruners has 70,000 pairs.
    """
    windows = len(differences)
    means = differences.mean(axis=0)
    errors = np.maximum(differences.std(axis=0, ddof=1) / np.sqrt(windows), _LEAST_ERROR)
    centred = (differences - means).T
    squares = np.square(centred).astype(np.float32)
    centred = centred.astype(np.float32)
    unit = np.sqrt(windows - 1)  # of error*, left out of the arrays
    errors = np.hypot(errors, added)
    observed = np.abs(means) / errors

    def strayed(rows: slice) -> tuple[Floats, Floats, Places]:
        """Of some pairs, t* in that unit: its quantiles, and how often it is as far from zero as what was observed."""
        limits = (observed[rows] / unit).astype(np.float32)
        here, wide, other, is_beyond = _scratch(len(limits), shares.shape[1])
        np.matmul(centred[rows], shares, out=here)  # mean* - mean
        np.matmul(squares[rows], shares, out=wide)
        wide -= np.square(here, out=other)
        np.maximum(wide, _LEAST_ERROR**2 * (windows - 1), out=wide)
        here /= np.sqrt(wide, out=wide)
        np.greater_equal(np.abs(here, out=other), limits[:, np.newaxis], out=is_beyond)
        beyond = np.array([np.count_nonzero(row) for row in is_beyond])  # row by row numpy is fast
        low, high = quantiles(here, (1 - LEVEL) / 2, (1 + LEVEL) / 2)
        return low, high, beyond

    parts = [slice(start, start + _ROWS_AT_ONCE) for start in range(0, len(means), _ROWS_AT_ONCE)]
    found = _threads().map(strayed, parts) if len(parts) > 1 else map(strayed, parts)
    low, high, beyond = (np.concatenate(column) for column in zip(*found, strict=True))
    low, high = unit * low, unit * high
    p = (1 + beyond) / (1 + shares.shape[1])
    p = np.where(beyond == 0, np.minimum(p, np.maximum(student_t_tails(observed, windows - 1), _LEAST_P)), p)
    p = np.where(np.isfinite(observed), p, 1)  # a loss that is not finite tells nothing apart
    with np.errstate(over="ignore"):
        return np.exp(means), np.exp(means - high * errors), np.exp(means - low * errors), p


_local = local()


def _scratch(rows: int, columns: int) -> list[npt.NDArray[Any]]:
    """Three arrays of numbers and one of truths, this thread's own: to have new ones costs as much as to fill them."""
    shape = getattr(_local, "shape", (0, 0))
    if shape[0] < rows or shape[1] != columns:
        _local.shape = rows, columns
        _local.arrays = [np.empty(_local.shape, kind) for kind in (np.float32, np.float32, np.float32, np.bool_)]
    return [array[:rows] for array in _local.arrays]


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


@cache
def _threads() -> ThreadPoolExecutor:
    """Numpy lets other threads work meanwhile; what is computed of a part depends on nothing but the part."""
    return ThreadPoolExecutor(os.cpu_count())


def quantiles(values: Draws, *probabilities: float) -> list[Floats]:
    """Of each row, to the last bit those of `numpy.quantile`, in a fraction of its time.

    Probabilities rise; `values` is put into another order.
    """
    found, start = [], 0
    for probability in probabilities:
        place = probability * (values.shape[1] - 1)
        before = int(place)
        values[:, start:].partition(before - start, axis=1)  # numpy is slow with several places at once
        start = before
        share, low = place - before, values[:, before]
        high = values[:, before + 1 :].min(axis=1)  # NaN where the row has one
        step = (high - low).astype(np.float64)
        found.append(low + step * share if share < 0.5 else high - step * (1 - share))
    return found


@lru_cache(maxsize=8)
def _draws(windows: int) -> Draws:
    """Which share of each resample every window is, [windows, resamples]."""
    if windows < 2:
        raise ValueError("one window says nothing of how much the text matters: nothing can be told apart")
    drawn = np.random.default_rng(_SEED).multinomial(windows, np.full(windows, 1 / windows), size=RESAMPLES)
    return np.ascontiguousarray(drawn.T / windows, dtype=np.float32)


def _vector(losses: Losses) -> Floats:
    return np.asarray(losses, dtype=np.float64).reshape(-1)
