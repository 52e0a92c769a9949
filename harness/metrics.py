"""Numbers out of window losses: perplexity, its interval, the paired comparison, and what is too good to be true.

A window's loss is its mean next-token cross-entropy in nats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Losses = Sequence[float] | npt.NDArray[np.floating]

QUARANTINE_RATIO = 0.95
"""Below this fraction of the dense model's perplexity, a pruned model's is not believed."""


def perplexity(losses: Losses) -> float:
    """exp of the mean loss; infinite where that overflows.

    Raises:
        ValueError: there are no losses.
    """
    return _exp(_vector(losses).mean())


def finite_mean(values: Losses | None) -> float | None:
    """The mean; None where nothing was measured, or where it is not finite."""
    mean = np.nan if values is None else float(_vector(values).mean())
    return mean if np.isfinite(mean) else None


def interval(losses: Losses, level: float = 0.95, seed_error: float = 0.0) -> tuple[float, float] | None:
    """The interval of the perplexity at `level`: exp of the mean loss ± Student's t times the standard error.

    None with fewer than two windows: one window says nothing of the spread. `seed_error`, in nats, is what `seed_error`
    gives, for losses that are means over seeds.
    """
    bounds = _mean_interval(_vector(losses), level, seed_error)
    return None if bounds is None else (_exp(bounds[0]), _exp(bounds[1]))


def seed_error(perplexities: Losses, windows: int, level: float = 0.95) -> float:
    """The standard error that seeds add to a mean loss over `windows`, in nats; 0 with fewer than two seeds.

    It is enlarged by the ratio of Student's quantiles with as many degrees of freedom as there are seeds, and as there
    are windows, less one each: it is used beside the error over windows, and few seeds say little of their own spread.
    """
    if len(perplexities) < 2 or windows < 2:
        return 0.0
    logarithms = np.log(_vector(perplexities))
    own, common = (student_t_quantile((1 + level) / 2, count - 1) for count in (len(logarithms), windows))
    return float(logarithms.std(ddof=1) / math.sqrt(len(logarithms)) * max(1.0, own / common))


def paired_interval(a: Losses, b: Losses, level: float = 0.95) -> tuple[float, float] | None:
    """The interval of the mean of `a - b`, window by window, in nats; None with fewer than two windows.

    Raises:
        ValueError: `a` and `b` differ in length, so they are not of the same windows.
    """
    first, second = _vector(a), _vector(b)
    if first.shape != second.shape:
        raise ValueError(f"losses of {first.size} and {second.size} windows cannot be paired")
    return _mean_interval(first - second, level)


def quarantined(losses: Losses, dense_losses: Losses) -> bool:
    """Whether a pruned model is implausibly better than the dense one.

    That is: its perplexity is over 5% lower, and the paired interval lies wholly below zero. With a single window
    there is no interval, and the first condition alone decides.
    """
    bounds = paired_interval(losses, dense_losses)
    difference = float(_vector(losses).mean() - _vector(dense_losses).mean())
    return bool(difference < np.log(QUARANTINE_RATIO)) and (bounds is None or bounds[1] < 0)


@lru_cache(maxsize=64)
def student_t_quantile(probability: float, degrees: int) -> float:
    """The t below which Student's distribution with `degrees` degrees of freedom has `probability`.

    Bisection on theta = atan(t / sqrt(degrees)), in which the distribution function is a finite sum (Abramowitz and
    Stegun, 26.7.3 and 26.7.4).

    Raises:
        ValueError: `probability` is not inside (0, 1), or `degrees` is below 1.
    """
    if not 0 < probability < 1 or degrees < 1:
        raise ValueError(f"no quantile at probability {probability} with {degrees} degrees of freedom")
    if probability < 0.5:
        return -student_t_quantile(1 - probability, degrees)
    central = 2 * probability - 1
    low, high = 0.0, np.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        below = float(_central_probability(np.asarray(middle), degrees)) < central
        low, high = (middle, high) if below else (low, middle)
    return float(np.tan((low + high) / 2) * np.sqrt(degrees))


def student_t_tails(t: npt.ArrayLike, degrees: int) -> npt.NDArray[np.float64]:
    """The probability beyond -t and t in Student's distribution with `degrees` degrees of freedom; all t >= 0."""
    return np.maximum(0.0, 1 - _central_probability(np.arctan(np.asarray(t) / np.sqrt(degrees)), degrees))


def wilson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float] | None:
    """Wilson's score interval of a rate (Wilson 1927); None without trials.

    Raises:
        ValueError: there are more successes than trials, or fewer than none.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    if trials == 0:
        return None
    z = NormalDist().inv_cdf((1 + level) / 2)
    rate, weight = successes / trials, z**2 / trials
    centre = (rate + weight / 2) / (1 + weight)
    margin = z / (1 + weight) * math.sqrt(rate * (1 - rate) / trials + weight / (4 * trials))
    return max(0.0, centre - margin), min(1.0, centre + margin)


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """The chance that one of k samples passes, unbiased from `passed` of `samples` (Chen et al. 2021, equation 1).

    Raises:
        ValueError: not 0 <= passed <= samples, or not 1 <= k <= samples.
    """
    if not 0 <= passed <= samples or not 1 <= k <= samples:
        raise ValueError(f"pass@{k} of {passed} out of {samples} samples")
    return 1 - math.comb(samples - passed, k) / math.comb(samples, k)


def _central_probability(theta: npt.NDArray[np.float64], degrees: int) -> npt.NDArray[np.float64]:
    """P(|T| < t) at theta = atan(t / sqrt(degrees))."""
    sine, cosine = np.sin(theta), np.cos(theta)
    odd = degrees % 2
    term = np.ones_like(theta)
    series = np.full_like(theta, 0.0 if degrees == 1 else 1.0)
    for k in range(1, (degrees - odd) // 2):
        term = term * (2 * k / (2 * k + 1) if odd else (2 * k - 1) / (2 * k)) * cosine**2
        series += term
    return 2 / np.pi * (theta + sine * cosine * series) if odd else sine * series


def _vector(losses: Losses) -> npt.NDArray[np.float64]:
    vector = np.asarray(losses, dtype=np.float64).reshape(-1)
    if vector.size == 0:
        raise ValueError("no window losses")
    return vector


def _mean_interval(
    values: npt.NDArray[np.float64], level: float, more_error: float = 0.0
) -> tuple[float, float] | None:
    if values.size < 2:
        return None
    mean = float(values.mean())
    error = float(values.std(ddof=1) / np.sqrt(values.size))
    margin = student_t_quantile((1 + level) / 2, values.size - 1) * math.hypot(error, more_error)
    return mean - margin, mean + margin


def _exp(value: float) -> float:
    with np.errstate(over="ignore"):
        return float(np.exp(value))
