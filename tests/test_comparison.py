"""Who can be told apart: the comparison is checked against what is known of simulated losses."""

from __future__ import annotations

import numpy as np
import pytest

from harness.comparison import compared, holm, ranks

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
    assert ranks(losses, found)["p59"] == 60


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
    assert ranks(losses, compared(losses)) == {"a": 1, "b": 1, "c": 3, "d": 4}


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
