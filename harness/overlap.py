"""How alike the masks of two pruners are, from a sample of a target's weights that is the same for all of them.

The sample is stratified: each layer gives weights in proportion to its size, at least one. Of `SAMPLE` weights the
standard error of an agreement is below 0.004.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.records import Score, Zeros

SAMPLE = 1 << 16
"""About how many weights are looked at; all of a target that has no more."""
Cell = tuple[str, str, str]
"""Target, sparsity, pruner."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike the zeros of two pruned models are."""

    overlap: float
    """Weights that both removed over those that either did (Jaccard's index)."""
    agreement: float
    """Cohen's kappa: 1 for the same mask, 0 where they agree no more than two independent masks would."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """The reference pruner whose mask is most like a candidate's."""

    reference: str
    likeness: Likeness


def sample_counts(sizes: Sequence[int]) -> list[int]:
    """How many weights of each layer stand in the sample, from the layers' sizes."""
    total = sum(sizes)
    if total <= SAMPLE:
        return list(sizes)
    return [max(1, size * SAMPLE // total) for size in sizes]


def sample_places(size: int, count: int, layer: int) -> npt.NDArray[np.int64]:
    """Indices of the sampled weights of a layer [out * in]: all of them, or as many pseudo-random ones as `count`.

    A fixed function of its arguments (the finaliser of SplitMix64), so that samples of any two runs can be compared.
    """
    if count >= size:
        return np.arange(size, dtype=np.int64)
    state = np.arange(count, dtype=np.uint64) + np.uint64(layer << 32)
    state = (state + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((state ^ (state >> np.uint64(31))) % np.uint64(size)).astype(np.int64)


class _Bits:
    """A sample as words, and how many of its weights are zero."""

    def __init__(self, sample: bytes) -> None:
        self.size = 8 * len(sample)
        self.words = np.frombuffer(sample.ljust(-(-len(sample) // 8) * 8, b"\0"), dtype=np.uint64)
        self.zeros = int(np.bitwise_count(self.words).sum())


def likeness(first: bytes, second: bytes) -> Likeness | None:
    """Of two samples of one target; None where there are other numbers of weights, or neither mask has a zero.

    Raises nothing: bits that pad the last byte are zero in both, and weigh a few parts in 65,536.
    """
    return _likeness(_Bits(first), _Bits(second))


def _likeness(one: _Bits, two: _Bits) -> Likeness | None:
    if one.size != two.size:
        return None
    both = int(np.bitwise_count(one.words & two.words).sum())
    either = one.zeros + two.zeros - both
    if not either:
        return None
    p, q = one.zeros / one.size, two.zeros / two.size
    observed, chance = (one.size - either + both) / one.size, p * q + (1 - p) * (1 - q)
    return Likeness(both / either, 1.0 if chance == 1 else (observed - chance) / (1 - chance))


def nearest_references(scores: Sequence[Score], zeros: Mapping[Cell, Zeros]) -> dict[Cell, Nearest]:
    """For each candidate's cell the reference pruner, at the same target and sparsity, whose mask agrees most."""
    references: dict[tuple[str, str], list[tuple[str, _Bits]]] = {}
    for score in scores:
        key = (score.target, score.sparsity, score.pruner)
        if score.author == "human" and key in zeros:
            references.setdefault(key[:2], []).append((score.pruner, _Bits(zeros[key].sample)))
    found = {}
    for score in scores:
        key = (score.target, score.sparsity, score.pruner)
        if score.author == "model" and key in zeros:
            own = _Bits(zeros[key].sample)
            pairs = [
                Nearest(name, alike)
                for name, theirs in references.get(key[:2], [])
                if (alike := _likeness(own, theirs)) is not None
            ]
            if pairs:
                found[key] = max(pairs, key=lambda one: one.likeness.agreement)
    return found
