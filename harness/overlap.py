"""How alike the masks of two pruners are, from a sample of a target's weights that is the same for all of them.

The sample is stratified: each layer gives weights in proportion to its size, at least one. Of `SAMPLE` weights the
standard error of an agreement is below 0.004.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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


Likenesses = dict[Cell, dict[str, Likeness]]
"""By cell, and by reference pruner."""


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


def likeness(first: bytes, second: bytes) -> Likeness | None:
    """Of two samples of one target; None where there are other numbers of weights, or neither mask has a zero.

    Raises nothing: bits that pad the last byte are zero in both, and weigh a few parts in 65,536.
    """
    return next(_likenesses([first], [second]))[0] if len(first) == len(second) else None


def likenesses(scores: Sequence[Score], zeros: Mapping[Cell, Zeros]) -> Likenesses:
    """Of each cell's mask to those of the reference pruners at the same target and sparsity, but for itself."""
    samples: dict[tuple[str, str, int], dict[str, bytes]] = {}
    people: set[Cell] = set()
    for score in scores:
        cell = (score.target, score.sparsity, score.pruner)
        if of_cell := zeros.get(cell):
            samples.setdefault((*cell[:2], len(of_cell.sample)), {})[score.pruner] = of_cell.sample
            if score.author == "human":
                people.add(cell)
    found: Likenesses = {}
    for (target, sparsity, _), group in samples.items():
        references = {name: sample for name, sample in group.items() if (target, sparsity, name) in people}
        if references:
            rows = _likenesses(list(group.values()), list(references.values()))
            for pruner, row in zip(group, rows, strict=True):
                named = zip(references, row, strict=True)
                found[target, sparsity, pruner] = {name: one for name, one in named if one and name != pruner}
    return found


def nearest_references(scores: Sequence[Score], alike: Likenesses) -> dict[Cell, Nearest]:
    """For each candidate's cell the reference pruner, of those in its `likenesses`, whose mask agrees most."""
    found = {}
    for score in scores:
        key = (score.target, score.sparsity, score.pruner)
        if score.author == "model" and (near := alike.get(key)):
            found[key] = Nearest(*max(near.items(), key=lambda item: item[1].agreement))
    return found


def _likenesses(first: Sequence[bytes], second: Sequence[bytes]) -> Iterator[list[Likeness | None]]:
    """Of each of the first to each of the second, all of one length."""
    size = 8 * len(second[0])
    theirs = np.stack([_words(sample) for sample in second])
    counts = np.bitwise_count(theirs).sum(axis=1, dtype=np.int64)
    for sample in first:
        words = _words(sample)
        own = int(np.bitwise_count(words).sum(dtype=np.int64))
        both = np.bitwise_count(words & theirs).sum(axis=1, dtype=np.int64)
        yield [
            _likeness(own, zeros, common, size) for zeros, common in zip(counts.tolist(), both.tolist(), strict=True)
        ]


def _words(sample: bytes) -> npt.NDArray[np.uint64]:
    return np.frombuffer(sample.ljust(-(-len(sample) // 8) * 8, b"\0"), dtype=np.uint64)


def _likeness(one: int, two: int, both: int, size: int) -> Likeness | None:
    """From how many of `size` weights are zero in the one, in the other, and in both."""
    either = one + two - both
    if not either:
        return None
    p, q = one / size, two / size
    observed, chance = (size - either + both) / size, p * q + (1 - p) * (1 - q)
    return Likeness(both / either, 1.0 if chance == 1 else (observed - chance) / (1 - chance))
