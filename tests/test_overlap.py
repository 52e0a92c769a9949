"""The sample of a mask: the same for every run, fair to all layers, and right about how alike masks are."""

import numpy as np
import pytest

from harness.overlap import SAMPLE, likeness, likenesses, nearest_references, sample_counts, sample_places
from harness.testing.fake_bench import fake_score, fake_zeros


def packed(mask: np.ndarray) -> bytes:
    return np.packbits(mask).tobytes()


def test_small_targets_are_taken_whole_and_large_ones_in_proportion() -> None:
    assert sample_counts([10, 20]) == [10, 20]
    assert sample_places(10, 10, 3).tolist() == list(range(10))
    counts = sample_counts([1 << 24, 1 << 23, 3])
    assert counts[0] == pytest.approx(2 * counts[1], abs=1)
    assert counts[2] == 1
    assert sum(counts) == pytest.approx(SAMPLE, abs=3)


def test_the_sample_never_changes_and_layers_differ() -> None:
    # what SplitMix64 gives from a seed of 0; filed samples are compared with new ones, so it must stay
    known = (16294208416658607535, 7960286522194355700, 487617019471545679, 17909611376780542444)
    assert sample_places(1_000_000, 4, 0).tolist() == [number % 1_000_000 for number in known]
    assert sample_places(1_000_000, 4, 1).tolist() != sample_places(1_000_000, 4, 0).tolist()


@pytest.mark.parametrize("columns", [64, 100, 576])
def test_the_sample_favours_no_row_column_or_place_in_a_group(columns: int) -> None:
    size = 1000 * columns
    places = sample_places(size, 20_000, 7)
    for value, kinds in ((places // columns, 10), (places % columns, 4), (places, 4), (places, 8)):
        counts = np.bincount(value % kinds, minlength=kinds)
        assert counts == pytest.approx(np.full(kinds, 20_000 / kinds), rel=0.06)


def test_agreement_is_one_for_the_same_mask_and_zero_by_chance() -> None:
    random = np.random.default_rng(0)
    for ratio in (0.1, 0.5, 0.9):
        one, other = (random.random(SAMPLE) < ratio for _ in range(2))
        same, chance = likeness(packed(one), packed(one)), likeness(packed(one), packed(other))
        assert same is not None
        assert chance is not None
        assert (same.overlap, same.agreement) == (1, 1)
        assert chance.agreement == pytest.approx(0, abs=0.02)
        assert chance.overlap == pytest.approx(ratio / (2 - ratio), abs=0.02)


def test_the_estimate_is_that_of_all_weights() -> None:
    random = np.random.default_rng(1)
    first = random.random(2_000_000)
    second = np.where(random.random(first.size) < 0.7, first, random.random(first.size))
    one, other = first < 0.5, second < 0.5
    places = sample_places(first.size, SAMPLE, 0)
    sampled, whole = likeness(packed(one[places]), packed(other[places])), likeness(packed(one), packed(other))
    assert sampled is not None
    assert whole is not None
    assert sampled.overlap == pytest.approx(whole.overlap, abs=0.01)
    assert sampled.agreement == pytest.approx(whole.agreement, abs=0.01)


def test_what_cannot_be_compared_has_no_likeness() -> None:
    assert likeness(b"\x01", b"\x01\x00") is None
    assert likeness(b"\x00", b"\x00") is None
    full = likeness(b"\xff", b"\xff")
    assert full is not None
    assert full.agreement == 1


def test_the_nearest_reference_is_the_one_whose_mask_agrees_most() -> None:
    names = [("magnitude", "human"), ("wanda", "human"), ("o1/x/01", "model"), ("o1/y/01", "model")]
    scores = [fake_score(name, author=author) for name, author in names]
    zeros = {(s.target, s.sparsity, s.pruner): fake_zeros(s.pruner, 0.5) for s in scores[:3]}
    zeros[(scores[2].target, "0.5", "o1/x/01")] = fake_zeros("wanda", 0.5)
    alike = likenesses(scores, zeros)
    assert [list(row) for row in alike.values()] == [["wanda"], ["magnitude"], ["magnitude", "wanda"]]
    own, other = zeros[scores[0].target, "0.5", "magnitude"], zeros[scores[1].target, "0.5", "wanda"]
    assert alike[scores[0].target, "0.5", "magnitude"]["wanda"] == likeness(own.sample, other.sample)
    as_other = [*scores[:3], fake_score("o1/x/01", "0.7", author="human")]  # a reference in another ranking
    assert likenesses(as_other, zeros) == alike
    found = nearest_references(scores, alike)
    assert set(found) == {(scores[2].target, "0.5", "o1/x/01")}
    (nearest,) = found.values()
    assert (nearest.reference, nearest.likeness.agreement) == ("wanda", 1)
