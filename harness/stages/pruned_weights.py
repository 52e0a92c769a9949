"""PrunedWeights: what came out of a run, read from its bytes alone and checked layer by layer."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from harness import console
from harness.overlap import sample_counts, sample_places
from harness.records import Failure, Sparsity, Zeros
from harness.status import Status
from sandbox.checkpoint import Checkpoint
from sandbox.layout import LayerSpec, Layout, block_parameters, masked
from sandbox.slices import slices


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the check found. `achieved_sparsity` is None where the output has no readable structure."""

    status: Status
    failure: Failure | None = None
    achieved_sparsity: float | None = None
    weights_changed: bool = False
    zeros: Zeros | None = None
    """Where they are, of what passed every check."""


class PrunedWeights:
    """The output file behind a descriptor, applied to the host's own dense weights."""

    def __init__(self, descriptor: int, layers: list[LayerSpec], checkpoint: Checkpoint) -> None:
        self._descriptor = descriptor
        self._layout = Layout(layers)
        self._checkpoint = checkpoint

    def check(self, sparsity: Sparsity, uniform: bool) -> Verdict:
        """Structure, finiteness, pattern, sparsity; the first that fails decides.

        A layer [out, in] needs min(out * floor(in * ratio), in * floor(out * ratio)) exact zeros. Of n:m, each group of
        m consecutive weights in a row, and what is left of a row, may keep at most n. Of a structure, floor(count *
        ratio) rows, columns or heads of a layer must be zero as a whole; heads are asked of the layers that they enter.
        With `uniform` False a ratio's zeros, or a structure's, count over all layers together.
        """
        if problem := self._structure():
            return _verdict(Status.BAD_OUTPUT, problem)
        found: list[_Found] = []
        changed = False
        counted = _Zeros([layer.size for layer in self._layout.layers])
        with console.progress("checking the pruned weights", len(self._layout.layers)) as bar:
            for index, layer in enumerate(self._layout.layers):
                weight = self.weight(index)
                if not torch.isfinite(weight).all():
                    return _verdict(Status.NON_FINITE, f"{layer.name} holds values that are not finite")
                found.append(_found(layer, weight, sparsity))
                counted.add(weight)
                changed = changed or self._changed(index)
                bar.advance()
        achieved = sum(one.zeros for one in found) / sum(one.layer.size for one in found)
        if wrong := _problem(found, sparsity, uniform):
            return _verdict(*wrong, achieved, changed)
        return Verdict(Status.OK, None, achieved, changed, counted.all())

    def weight(self, index: int) -> torch.Tensor:
        """A layer's weights, [out_features, in_features], float32."""
        layer = self._layout.layers[index]
        kept = torch.from_numpy(self._bits(index)[: layer.size].astype(bool)).reshape(layer.shape)
        if self._changed(index):
            values = np.frombuffer(self._read(self._layout.values(index)), dtype="<f4").copy()
            return masked(torch.from_numpy(values).reshape(layer.shape), kept)
        return masked(self._checkpoint.weight(layer), kept)

    def parameters(self, block: int) -> Mapping[str, torch.Tensor]:
        """The weights of a block under their parameters' names, as the model stores them."""
        return block_parameters(self._layout.layers, block, self.weight)

    def digest(self) -> str:
        """SHA-256 of all that decides the weights: two runs with the same one have the same weights, bit for bit."""
        digest = hashlib.sha256(self._read(slice(0, self._layout.flag_offset + len(self._layout.layers))))
        for index in filter(self._changed, range(len(self._layout.layers))):
            digest.update(self.weight(index).numpy().tobytes())
        return digest.hexdigest()

    def _structure(self) -> str | None:
        """What is wrong with the file as a file, or None."""
        found = os.fstat(self._descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size != self._layout.total_bytes:
            return f"the output has {found.st_size} bytes instead of {self._layout.total_bytes}"
        for index, layer in enumerate(self._layout.layers):
            if self._bits(index)[layer.size :].any():
                return f"{layer.name}: padding bits of the mask are set"
            if self._read(slice(self._layout.flag_offset + index, self._layout.flag_offset + index + 1)) > b"\x01":
                return f"{layer.name}: its flag is neither 0 nor 1"
        return None

    def _changed(self, index: int) -> bool:
        offset = self._layout.flag_offset + index
        return self._read(slice(offset, offset + 1)) == b"\x01"

    def _bits(self, index: int) -> np.ndarray:
        return np.unpackbits(np.frombuffer(self._read(self._layout.mask(index)), dtype=np.uint8))

    def _read(self, part: slice) -> bytes:
        """All bytes of a section; a single call may return fewer."""
        read, offset = bytearray(), part.start
        while offset < part.stop:
            piece = os.pread(self._descriptor, part.stop - offset, offset)
            if not piece:
                break
            read += piece
            offset += len(piece)
        return bytes(read)


class _Zeros:
    """Gathers where the zeros are, layer by layer."""

    def __init__(self, sizes: list[int]) -> None:
        self._counts = sample_counts(sizes)
        self._fractions: list[float] = []
        self._sampled: list[np.ndarray] = []
        self._digest = hashlib.sha256()

    def add(self, weight: torch.Tensor) -> None:
        """The next layer's weights, [out_features, in_features]."""
        zero = (weight == 0).numpy().reshape(-1)
        index = len(self._fractions)
        self._fractions.append(float(np.count_nonzero(zero)) / zero.size)
        self._sampled.append(zero[sample_places(zero.size, self._counts[index], index)])
        self._digest.update(np.packbits(zero).tobytes())

    def all(self) -> Zeros:
        """Of all layers that were added."""
        sample = np.packbits(np.concatenate(self._sampled)).tobytes()
        return Zeros(tuple(self._fractions), sample, self._digest.hexdigest())


def _verdict(
    status: Status, message: str, achieved_sparsity: float | None = None, weights_changed: bool = False
) -> Verdict:
    return Verdict(status, Failure(status.stage, status.value, message), achieved_sparsity, weights_changed)


@dataclass(frozen=True, slots=True)
class _Found:
    """What was counted in one layer, and what the sparsity asks of it."""

    layer: LayerSpec
    zeros: int
    least_zeros: int
    most_kept: int = 0
    """In any group of a pattern."""
    whole: int = 0
    """Structures that are zero as a whole."""
    least_whole: int = 0
    whole_size: int = 0
    """Weights of one structure."""

    @property
    def least_in_whole(self) -> int:
        """Weights of the structures that must be zero."""
        return self.least_whole * self.whole_size


def _found(layer: LayerSpec, weight: torch.Tensor, sparsity: Sparsity) -> _Found:
    zeros = layer.size - int(torch.count_nonzero(weight))
    by_row = layer.out_features * int(layer.in_features * sparsity.ratio)
    by_column = layer.in_features * int(layer.out_features * sparsity.ratio)
    found = _Found(layer, zeros, min(by_row, by_column))
    if sparsity.m is not None:
        return replace(found, most_kept=_most_kept(weight, sparsity.m))
    parts = None if sparsity.structure is None else slices(weight, sparsity.structure, layer.heads)
    if parts is None:
        return found
    whole = int((parts == 0).all(dim=2).all(dim=1).sum())
    least_whole = int(len(parts) * sparsity.ratio)
    return replace(found, whole=whole, least_whole=least_whole, whole_size=layer.size // len(parts))


def _problem(found: list[_Found], sparsity: Sparsity, uniform: bool) -> tuple[Status, str] | None:
    """What the sparsity asks for and the weights do not have."""
    if sparsity.n is not None:
        for one in found:
            if one.most_kept > sparsity.n:
                kept = f"{one.layer.name} keeps {one.most_kept} of {sparsity.m} weights, where {sparsity.n} may be"
                return Status.PATTERN_VIOLATED, kept
        return None
    if sparsity.structure is not None:
        return _structure_problem(found, sparsity.structure, uniform)
    zeros, least = sum(one.zeros for one in found), sum(one.least_zeros for one in found)
    if not uniform:
        total = sum(one.layer.size for one in found)
        missed = f"{zeros} weights of {total} are zero, but {least} must be"
        return (Status.SPARSITY_MISSED, missed) if zeros < least else None
    for one in found:
        if one.zeros < one.least_zeros:
            missed = f"{one.layer.name} has {one.zeros} zeros of {one.layer.size}, but needs {one.least_zeros}"
            return Status.SPARSITY_MISSED, missed + _hint(zeros >= least)
    return None


def _structure_problem(found: list[_Found], structure: str, uniform: bool) -> tuple[Status, str] | None:
    """Whole structures are missing: a wrong pattern where zeros are enough but scattered, else too little sparsity."""
    asked = [one for one in found if one.least_whole]
    whole = sum(one.whole * one.whole_size for one in asked)
    least = sum(one.least_in_whole for one in asked)
    if not uniform:
        if whole >= least:
            return None
        scattered = sum(one.zeros for one in asked) >= least
        message = f"whole {structure} of zeros hold {whole} weights, but must hold {least}"
    else:
        short = [one for one in asked if one.whole < one.least_whole]
        if not short:
            return None
        scattered = all(one.zeros >= one.least_in_whole for one in short)
        first = next(one for one in short if scattered or one.zeros < one.least_in_whole)
        message = f"{first.layer.name} has {first.whole} {structure} of zeros, but needs {first.least_whole}"
        message += _hint(whole >= least)
    return Status.PATTERN_VIOLATED if scattered else Status.SPARSITY_MISSED, message


def _hint(enough_in_all: bool) -> str:
    return "; a file that spreads its budget unevenly says UNIFORM = False" if enough_in_all else ""


def _most_kept(weight: torch.Tensor, m: int) -> int:
    """The most non-zero weights in any group of m consecutive ones of a row; a rest at a row's end is a group too."""
    kept = torch.nn.functional.pad((weight != 0).to(torch.int32), (0, -weight.shape[1] % m))
    return int(kept.reshape(weight.shape[0], -1, m).sum(dim=-1).max())
