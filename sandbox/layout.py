"""The one file that comes out of a run: a fixed layout, known before the run from the layers' shapes alone.

    mask bits   for each layer in order, ceil(size / 8) bytes, first weight in the highest bit; 1 is kept, padding 0
    flags       one byte for each layer: 1 where the values of the kept weights differ from the dense ones
    values      for each layer in order, size little-endian float32; read only where the flag is 1
    end         `MAGIC`, written last

Weights are in row-major [out_features, in_features]. There is nothing to parse: every offset follows from the
shapes. Values of unchanged layers are never written, so the file is sparse on disk.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch

MAGIC = b"PRUNED01"
VALUE_BYTES = 4


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One prunable layer as the host lists it: where it is, and its shape as pruners see it."""

    name: str
    block: int
    out_features: int
    in_features: int
    transposed: bool = False
    """Stored [in, out], as Conv1D does."""
    bias: bool = False
    expert: int | None = None
    """Its index in the first dimension of a parameter that holds many matrices; None where it is a parameter alone."""
    heads: int = 0
    """Number of attention heads whose outputs enter this layer, side by side; 0 where none do."""

    @property
    def parameter(self) -> str:
        """Full name of the parameter in which the weights are stored."""
        return f"{self.name}.weight" if self.expert is None else self.name.rpartition(".")[0]

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.out_features * self.in_features

    @property
    def shape(self) -> tuple[int, int]:
        """[out_features, in_features]."""
        return self.out_features, self.in_features


def oriented(weight: torch.Tensor, layer: LayerSpec) -> torch.Tensor:
    """Between [out, in] and the order in which the module stores it; the same both ways."""
    return weight.t() if layer.transposed and weight.dim() == 2 else weight


def block_parameters(
    layers: Sequence[LayerSpec], block: int, weight: Callable[[int], torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The prunable parameters of a block as its modules store them; the experts of one parameter are stacked again.

    Args:
        layers: those of the whole model.
        block: index of the block.
        weight: gives a layer's weights, [out_features, in_features], for its index in `layers`.
    """
    members: dict[str, list[int]] = {}
    for index, layer in enumerate(layers):
        if layer.block == block:
            members.setdefault(layer.parameter, []).append(index)
    parameters = {}
    for name, indices in members.items():
        stored = [oriented(weight(index), layers[index]) for index in indices]
        parameters[name] = stored[0] if layers[indices[0]].expert is None else torch.stack(stored)
    return parameters


def masked(weight: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """A float32 weight with exact zeros where the bool mask `kept` is False, whatever stood there.

    By bits, as torch.where takes ten times as long.
    """
    return (weight.view(torch.int32) & kept.to(torch.int32).neg_()).view(torch.float32)


class Layout:
    """Offsets of every section for a list of layers."""

    def __init__(self, layers: Sequence[LayerSpec]) -> None:
        mask_bytes = [(layer.size + 7) // 8 for layer in layers]
        masks = list(accumulate(mask_bytes, initial=0))
        values = list(accumulate((layer.size * VALUE_BYTES for layer in layers), initial=masks[-1] + len(layers)))
        self.layers = tuple(layers)
        self.mask_offsets = masks[:-1]
        self.flag_offset = masks[-1]
        self.value_offsets = values[:-1]
        self.end_offset = values[-1]
        self.total_bytes = values[-1] + len(MAGIC)

    def mask(self, index: int) -> slice:
        """The bytes of a layer's mask."""
        start = self.mask_offsets[index]
        return slice(start, start + (self.layers[index].size + 7) // 8)

    def values(self, index: int) -> slice:
        """The bytes of a layer's values."""
        start = self.value_offsets[index]
        return slice(start, start + self.layers[index].size * VALUE_BYTES)


class OutputFile:
    """The output file as the worker writes it, and reads back what it has written."""

    def __init__(self, path: str, layout: Layout) -> None:
        self._layout = layout
        with open(path, "r+b") as file:  # noqa: PTH123 - a bare descriptor, mapped at once
            self._map = mmap.mmap(file.fileno(), layout.total_bytes)
        self._written: set[int] = set()

    def write(self, index: int, weight: torch.Tensor, dense: torch.Tensor) -> None:
        """Store a layer's weights: the mask, and the values where kept weights differ from the dense ones."""
        kept = weight != 0  # NaN counts as kept: the host must see it
        unchanged = not bool(((weight != dense) & kept).any())
        self._map[self._layout.mask(index)] = np.packbits(kept.numpy().reshape(-1)).tobytes()
        self._map[self._layout.flag_offset + index] = 0 if unchanged else 1
        if not unchanged:
            self._map[self._layout.values(index)] = weight.contiguous().numpy().tobytes()
        self._written.add(index)

    def has(self, index: int) -> bool:
        """Whether a layer was written."""
        return index in self._written

    def read(self, index: int, dense: torch.Tensor) -> torch.Tensor:
        """A layer's weights as last written; the dense ones where nothing was."""
        if index not in self._written:
            return dense
        layer = self._layout.layers[index]
        if self._map[self._layout.flag_offset + index]:
            raw = np.frombuffer(self._map[self._layout.values(index)], dtype="<f4")
            return torch.from_numpy(raw.copy()).reshape(layer.shape)
        bits = np.frombuffer(self._map[self._layout.mask(index)], dtype=np.uint8)
        kept = torch.from_numpy(np.unpackbits(bits, count=layer.size).astype(bool)).reshape(layer.shape)
        return masked(dense, kept)

    def finish(self) -> None:
        """Mark the file complete."""
        self._map[self._layout.end_offset :] = MAGIC
        self._map.flush()
        self._map.close()
