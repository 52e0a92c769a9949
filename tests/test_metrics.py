"""Perplexity, intervals and quarantine, against tables and against definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import metrics

LOSSES = st.lists(st.floats(0, 12), min_size=2, max_size=40)


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [
        (1, 12.706205),
        (2, 4.302653),
        (3, 3.182446),
        (4, 2.776445),
        (5, 2.570582),
        (10, 2.228139),
        (29, 2.045230),
        (30, 2.042272),
        (120, 1.979930),
        (1000, 1.962339),
    ],
)
def test_student_t_quantile_is_the_tabulated_one(degrees: int, expected: float) -> None:
    assert metrics.student_t_quantile(0.975, degrees) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize(("probability", "expected"), [(0.9, 1.475884), (0.95, 2.015048), (0.995, 4.032143)])
def test_student_t_quantile_at_other_levels(probability: float, expected: float) -> None:
    assert metrics.student_t_quantile(probability, 5) == pytest.approx(expected, abs=2e-6)
    assert metrics.student_t_quantile(1 - probability, 5) == pytest.approx(-expected, abs=2e-6)


@pytest.mark.parametrize(("probability", "degrees"), [(0.0, 3), (1.0, 3), (0.5, 0)])
def test_student_t_quantile_refuses_what_has_none(probability: float, degrees: int) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        metrics.student_t_quantile(probability, degrees)


def test_perplexity_is_exp_of_the_mean() -> None:
    assert metrics.perplexity([math.log(10), math.log(1000)]) == pytest.approx(100)
    assert metrics.perplexity([2000.0]) == math.inf
    with pytest.raises(ValueError, match="no window losses"):
        metrics.perplexity([])


def test_interval_by_hand() -> None:
    # mean 2, standard deviation 1, error 1/sqrt(3), t(2) = 4.302653
    low, high = metrics.interval([1.0, 2.0, 3.0]) or (0, 0)
    assert math.log(low) == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-5)
    assert math.log(high) == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-5)


def test_one_window_has_no_interval() -> None:
    assert metrics.interval([1.0]) is None
    assert metrics.paired_interval([1.0], [2.0]) is None


@given(LOSSES)
def test_interval_holds_the_perplexity(losses: list[float]) -> None:
    low, high = metrics.interval(losses) or (math.nan, math.nan)
    assert low <= metrics.perplexity(losses) * (1 + 1e-9)
    assert high >= metrics.perplexity(losses) * (1 - 1e-9)


def test_interval_covers_the_mean_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        low, high = metrics.interval(random.normal(3.0, 0.5, size=6)) or (0, 0)
        inside += low <= math.exp(3.0) <= high
    assert 0.92 <= inside / 400 <= 0.98


def test_paired_interval_takes_out_what_the_windows_share() -> None:
    windows = np.linspace(1, 6, 20)
    noise = np.tile([0.01, -0.01], 10)
    low, high = metrics.paired_interval(windows + 0.1 + noise, windows) or (0, 0)
    assert 0.09 < low < 0.1 < high < 0.11
    with pytest.raises(ValueError, match="cannot be paired"):
        metrics.paired_interval([1.0, 2.0], [1.0])


def test_quarantine_needs_both_conditions() -> None:
    dense = [3.0, 3.2, 2.9, 3.1]
    assert metrics.quarantined([loss - 0.2 for loss in dense], dense)
    assert not metrics.quarantined([loss - 0.04 for loss in dense], dense)  # under 5%, however certain
    assert not metrics.quarantined([1.0, 4.0, 2.0, 4.0], dense)  # over 5%, but the interval holds zero
    assert not metrics.quarantined([loss + 1 for loss in dense], dense)


def test_quarantine_with_one_window_goes_by_the_ratio() -> None:
    assert metrics.quarantined([2.0], [3.0])
    assert not metrics.quarantined([2.99], [3.0])


@pytest.mark.parametrize(("t", "degrees", "expected"), [(2.228139, 10, 0.05), (12.706205, 1, 0.05), (0.0, 7, 1.0)])
def test_tails_of_student_are_the_tabulated_ones(t: float, degrees: int, expected: float) -> None:
    assert metrics.student_t_tails(t, degrees) == pytest.approx(expected, abs=1e-6)
    assert metrics.student_t_tails(math.inf, degrees) == 0


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 10, 0.0, 0.277533), (5, 10, 0.236593, 0.763407), (10, 10, 0.722467, 1.0), (81, 263, 0.255281, 0.366213)],
)
def test_wilson_is_the_tabulated_one(successes: int, trials: int, low: float, high: float) -> None:
    assert metrics.wilson(successes, trials) == pytest.approx((low, high), abs=2e-4)


def test_wilson_without_trials_and_with_nonsense() -> None:
    assert metrics.wilson(0, 0) is None
    with pytest.raises(ValueError, match="3 successes of 2 trials"):
        metrics.wilson(3, 2)


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_draws_with_a_pass(numbers: tuple[int, int, int]) -> None:
    samples, passed, k = numbers
    failing = math.prod((samples - passed - i) / (samples - i) for i in range(k))
    assert metrics.pass_at_k(samples, passed, k) == pytest.approx(1 - max(0, failing))
