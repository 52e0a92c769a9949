"""Who can be told apart: the comparison is checked against what is known of simulated losses."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from harness import comparison
from harness.comparison import compared, holm, pairs, quantiles, ranks

WINDOWS = 32
STUDIES = 2000


def simulated(random: np.random.Generator, effect: float, pruners: int = 2) -> dict[str, np.ndarray]:
    """Losses as real ones look: windows differ much, pruners a little and skewed; the last is worse by `effect`."""
    shared = random.normal(3, 0.4, WINDOWS)
    losses = {f"p{i}": shared + random.gamma(4, 0.02, WINDOWS) for i in range(pruners)}
    losses[f"p{pruners - 1}"] += effect
    return losses


def test_intervals_cover_the_truth_and_equal_pruners_are_rarely_told_apart() -> None:
    random = np.random.default_rng(0)
    covered = told_apart = 0
    for _ in range(STUDIES):
        (one,) = compared(simulated(random, effect=0.02))
        covered += one.low <= np.exp(-0.02) <= one.high
        (same,) = compared(simulated(random, effect=0.0))
        told_apart += same.is_significant
    assert 0.93 <= covered / STUDIES <= 0.97
    assert told_apart / STUDIES <= 0.05 + 3 * (0.05 * 0.95 / STUDIES) ** 0.5


def test_of_many_equal_pruners_a_false_claim_is_rare() -> None:
    random = np.random.default_rng(1)
    studies = 200
    false = sum(any(one.is_significant for one in compared(simulated(random, 0.0, pruners=8))) for _ in range(studies))
    assert false / studies <= 0.05 + 3 * (0.05 * 0.95 / studies) ** 0.5


def test_a_clear_difference_is_found_among_many_and_names_the_better_one() -> None:
    losses = simulated(np.random.default_rng(2), effect=0.3, pruners=60)
    found = compared(losses)
    assert len(found) == 60 * 59 // 2
    against = [one for one in found if one.second == "p59"]
    assert all(one.is_significant and one.high < 1 and one.p < 1e-6 for one in against)
    assert ranks(losses)["p59"] == 60


def test_digits_depend_on_no_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = simulated(np.random.default_rng(3), effect=0.0, pruners=42)
    found = []
    for processors in (1, 2):
        monkeypatch.setattr("os.cpu_count", lambda processors=processors: processors)
        comparison._threads.cache_clear()
        comparison._pairs.cache_clear()
        with threadpool_limits(limits=processors, user_api="blas"):
            found.append(compared(losses))
    comparison._threads.cache_clear()
    assert found[0] == found[1]


def test_a_pruner_equals_itself() -> None:
    (one,) = compared({"a": [1.0, 2.0, 4.0], "b": [1.0, 2.0, 4.0]})
    assert (one.ratio, one.low, one.high, one.p, one.p_holm) == (1, 1, 1, 1, 1)
    assert not one.is_significant


def test_a_constant_difference_is_told_apart() -> None:
    (one,) = compared({"a": list(np.arange(20.0)), "b": list(np.arange(20.0) + 1)})
    assert one.is_significant
    assert one.low == pytest.approx(np.exp(-1)) == one.high


def test_the_same_losses_give_the_same_comparison_in_either_order() -> None:
    losses = simulated(np.random.default_rng(3), effect=0.05)
    (one,) = compared(losses)
    (other,) = compared(dict(reversed(losses.items())))
    assert other.p == pytest.approx(one.p)
    assert (other.ratio, other.low, other.high) == pytest.approx((1 / one.ratio, 1 / one.high, 1 / one.low))


def test_ranks_count_only_those_who_are_significantly_better() -> None:
    random = np.random.default_rng(4)
    base = random.normal(3, 0.4, WINDOWS)
    noise = [random.normal(0, 0.05, WINDOWS) for _ in range(4)]
    losses = {name: base + shift + part for name, shift, part in zip("abcd", (0, 0.001, 0.2, 0.5), noise, strict=True)}
    assert ranks(losses) == {"a": 1, "b": 1, "c": 3, "d": 4}


@pytest.mark.parametrize("probability", [0.025, (1 - 0.95) / 2, (1 + 0.95) / 2, 0.3])
def test_quantiles_are_those_of_numpy_to_the_last_bit(probability: float) -> None:
    values = np.random.default_rng(5).standard_t(3, (300, 2000)).astype(np.float32)
    values[7, 11] = np.nan
    values[8, 11], values[9] = np.inf, 1
    expected = np.quantile(values, [probability], axis=1)[0].astype(np.float64)
    (found,) = quantiles(values, probability)
    assert np.array_equal(found, expected, equal_nan=True)


@pytest.mark.parametrize("rows", [1, 7, 10_000])
def test_what_is_computed_in_parts_is_what_the_whole_gives(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = simulated(np.random.default_rng(6), effect=0.1, pruners=40)
    whole = pairs(losses)
    monkeypatch.setattr(comparison, "_ROWS_AT_ONCE", rows)
    comparison._pairs.cache_clear()
    found = pairs(losses)
    assert len(found.first) == 780
    assert np.array_equal(found.ratio, whole.ratio)
    for name in ("low", "high"):  # a matrix product's last digits depend on its shape
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-6)
    np.testing.assert_allclose(found.p, whole.p, atol=2 / 2001)
    is_small = np.maximum(found.p, whole.p) < 1 / 2001  # Student's, from no draw
    assert is_small.any()
    assert np.array_equal(found.p[is_small], whole.p[is_small])
    assert found.p_holm.tolist() == holm(found.p.tolist())
    assert np.array_equal(found.is_significant, whole.is_significant)


def test_the_pairs_of_a_long_list_are_those_of_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = simulated(np.random.default_rng(6), effect=0.1, pruners=40)
    whole, names = pairs(losses), list(losses)
    monkeypatch.setattr(comparison, "_PAIRS_AT_ONCE", 100)
    comparison._pairs.cache_clear()
    for one in compared(losses):
        (place,) = np.flatnonzero((whole.first == names.index(one.first)) & (whole.second == names.index(one.second)))
        assert one.ratio == whole.ratio[place]
        assert [one.low, one.high] == pytest.approx([whole.low[place], whole.high[place]], 1e-6)
        assert one.p == pytest.approx(whole.p[place], abs=2 / 2001)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_what_cannot_be_compared() -> None:
    assert compared({"alone": [1.0, 2.0]}) == []
    with pytest.raises(ValueError, match="nothing can be told apart"):
        compared({"a": [1.0], "b": [2.0]})
    with pytest.raises(ValueError):
        compared({"a": [1.0, 2.0], "b": [2.0, 3.0, 4.0]})
