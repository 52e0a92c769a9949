"""PrunedWeights: what came out of a run, read from its bytes alone and checked layer by layer."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from harness import console
from harness.records import Failure, Sparsity
from harness.status import Status
from sandbox.checkpoint import Checkpoint
from sandbox.layout import LayerSpec, Layout, block_parameters


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the check found. `achieved_sparsity` is None where the output has no readable structure."""

    status: Status
    failure: Failure | None = None
    achieved_sparsity: float | None = None
    weights_changed: bool = False


class PrunedWeights:
    """The output file behind a descriptor, applied to the host's own dense weights."""

    def __init__(self, descriptor: int, layers: list[LayerSpec], checkpoint: Checkpoint) -> None:
        self._descriptor = descriptor
        self._layout = Layout(layers)
        self._checkpoint = checkpoint

    def check(self, sparsity: Sparsity, uniform: bool) -> Verdict:
        """Structure, finiteness, pattern, sparsity; the first that fails decides.

        A layer [out, in] needs min(out * floor(in * ratio), in * floor(out * ratio)) exact zeros; with `uniform`
        False the sum over the layers counts. Of n:m, each group of m consecutive weights in a row, and what is left
        of a row, may keep at most n.
        """
        if problem := self._structure():
            return _verdict(Status.BAD_OUTPUT, problem)
        zeros = needed = total = 0
        missed: str | None = None
        violated: str | None = None
        changed = False
        with console.progress("checking the pruned weights", len(self._layout.layers)) as bar:
            for index, layer in enumerate(self._layout.layers):
                weight = self.weight(index)
                if not torch.isfinite(weight).all():
                    return _verdict(Status.NON_FINITE, f"{layer.name} holds values that are not finite")
                here = layer.size - int(torch.count_nonzero(weight))
                least = _least_zeros(layer, sparsity.ratio)
                zeros, needed, total = zeros + here, needed + least, total + layer.size
                if here < least and missed is None:
                    missed = f"{layer.name} has {here} zeros of {layer.size}, but needs {least}"
                if sparsity.n is not None and sparsity.m is not None and violated is None:
                    worst = _most_kept(weight, sparsity.m)
                    if worst > sparsity.n:
                        violated = f"{layer.name} keeps {worst} of {sparsity.m} weights, where {sparsity.n} may be"
                changed = changed or self._changed(index)
                bar.advance()
        achieved = zeros / total
        if violated:
            return _verdict(Status.PATTERN_VIOLATED, violated, achieved, changed)
        if sparsity.n is None and not uniform:
            missed = None if zeros >= needed else f"{zeros} weights of {total} are zero, but {needed} must be"
        if missed and uniform and zeros >= needed:
            missed += "; a file that spreads its budget unevenly says UNIFORM = False"
        if missed and sparsity.n is None:
            return _verdict(Status.SPARSITY_MISSED, missed, achieved, changed)
        return Verdict(Status.OK, None, achieved, changed)

    def weight(self, index: int) -> torch.Tensor:
        """A layer's weights, [out_features, in_features], float32."""
        layer = self._layout.layers[index]
        kept = torch.from_numpy(self._bits(index)[: layer.size].astype(bool)).reshape(layer.shape)
        if self._changed(index):
            values = np.frombuffer(self._read(self._layout.values(index)), dtype="<f4").copy()
            return torch.where(kept, torch.from_numpy(values).reshape(layer.shape), 0)
        return torch.where(kept, self._checkpoint.weight(layer), 0)

    def parameters(self, block: int) -> Mapping[str, torch.Tensor]:
        """The weights of a block under their parameters' names, as the model stores them."""
        return block_parameters(self._layout.layers, block, self.weight)

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


def _verdict(
    status: Status, message: str, achieved_sparsity: float | None = None, weights_changed: bool = False
) -> Verdict:
    return Verdict(status, Failure(status.stage, status.value, message), achieved_sparsity, weights_changed)


def _least_zeros(layer: LayerSpec, ratio: float) -> int:
    by_row = layer.out_features * int(layer.in_features * ratio)
    by_column = layer.in_features * int(layer.out_features * ratio)
    return min(by_row, by_column)


def _most_kept(weight: torch.Tensor, m: int) -> int:
    """The most non-zero weights in any group of m consecutive ones of a row; a rest at a row's end is a group too."""
    kept = torch.nn.functional.pad((weight != 0).to(torch.int32), (0, -weight.shape[1] % m))
    return int(kept.reshape(weight.shape[0], -1, m).sum(dim=-1).max())
