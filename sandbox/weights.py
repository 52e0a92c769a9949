"""The prunable weights during a run: dense on disk, live in the pruner's hands, or written to the output file."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from sandbox.checkpoint import Checkpoint
from sandbox.layout import LayerSpec, OutputFile


class BadWeight(ValueError):
    """A weight was given another shape, or is not a real tensor: the run has no usable output."""


class Weights:
    """Weights by index in `layers`, always [out_features, in_features] and float32.

    A weight becomes live when a pruner first reads it, and may then be changed in place or replaced. `write` puts
    live weights into the output file and lets go of them, so that only a block's worth is in memory, unless the pruner
    itself holds on to a tensor: what it changes there later counts too. Pruners may use threads.
    """

    def __init__(self, checkpoint: Checkpoint, layers: Sequence[LayerSpec], output: OutputFile) -> None:
        self.layers = layers
        self._checkpoint = checkpoint
        self._output = output
        self._lock = threading.RLock()
        self._live: dict[int, torch.Tensor] = {}
        self._model: nn.Module | None = None

    def live(self, index: int) -> torch.Tensor:
        """The tensor that the pruner may change."""
        if self._model is not None:
            weight = self._module_weight(index)
            return _oriented(weight.detach() if weight.requires_grad else weight, self.layers[index])
        with self._lock:
            if index not in self._live:
                self._live[index] = self.written(index).clone()
            return self._live[index]

    def assign(self, index: int, weight: torch.Tensor) -> None:
        """Replace a weight.

        Raises:
            BadWeight: `weight` is no real tensor of the layer's shape.
        """
        checked = _checked(weight, self.layers[index])
        if self._model is not None:
            self._module_weight(index).data = _oriented(checked, self.layers[index]).clone()
        else:
            with self._lock:
                self._live[index] = checked.clone()

    def written(self, index: int) -> torch.Tensor:
        """A weight as last written, dense at first. Never write into it."""
        layer = self.layers[index]
        dense = _oriented(self._checkpoint.tensor(f"{layer.name}.weight"), layer)
        return self._output.read(index, dense)

    def write(self, except_block: int | None = None) -> None:
        """Put every live weight, but for those of one block, into the output file.

        Raises:
            BadWeight: one has another shape, or is no real tensor any more.
        """
        with self._lock:
            live = range(len(self.layers)) if self._model is not None else sorted(self._live)
            for index in [index for index in live if self.layers[index].block != except_block]:
                layer = self.layers[index]
                dense = _oriented(self._checkpoint.tensor(f"{layer.name}.weight"), layer)
                self._output.write(index, _checked(self.live(index), layer), dense)
                if index in self._live and not _is_held(self._live, index):
                    del self._live[index]

    def finish(self) -> None:
        """Write everything that is live, and what was never touched: nothing may be left to mean "all zero".

        All of it is let go of: what a pruner does to tensors that it still holds counts no more.

        Raises:
            BadWeight: as `write`.
        """
        self.write()
        self._model = None
        self._live.clear()
        for index, layer in enumerate(self.layers):
            if not self._output.has(index):
                dense = _oriented(self._checkpoint.tensor(f"{layer.name}.weight"), layer)
                self._output.write(index, dense, dense)

    def parameters(self, block: int) -> Mapping[str, torch.Tensor]:
        """The written weights of a block under their parameters' names, oriented as the module stores them."""
        return {
            f"{layer.name}.weight": _oriented(self.written(index), layer)
            for index, layer in enumerate(self.layers)
            if layer.block == block
        }

    def model(self) -> nn.Module:
        """The whole model with the weights as they now are; from now on its modules hold the live weights."""
        if self._model is None:
            self.write()
            model = self._checkpoint.load(self._checkpoint.skeleton())
            for index, layer in enumerate(self.layers):
                weight = self._live.pop(index, None)  # what the pruner holds of it is the module's from now on
                if weight is None:
                    weight = self.written(index).clone()
                stored = _oriented(_checked(weight, layer), layer)
                model.get_submodule(layer.name).weight = nn.Parameter(stored, requires_grad=False)
            self._model = model
        return self._model

    def _module_weight(self, index: int) -> torch.Tensor:
        assert self._model is not None
        try:
            weight: object = self._model.get_submodule(self.layers[index].name).weight
        except AttributeError as missing:
            raise BadWeight(f"the model has no {self.layers[index].name}.weight any more") from missing
        return _tensor(weight, self.layers[index])


def _is_held(live: dict[int, torch.Tensor], index: int) -> bool:
    """Whether the pruner still holds a live tensor, a view of it, or an array on it.

    torch has no public way to count the users of a storage; its version is pinned.
    """
    return sys.getrefcount(live[index]) > 2 or _storage_uses(live[index]) > _USES_OF_ONE


def _storage_uses(tensor: torch.Tensor) -> int:
    return int(torch._C._storage_Use_Count(tensor.untyped_storage()._cdata))


_USES_OF_ONE = _storage_uses(torch.zeros(1))


def _oriented(weight: torch.Tensor, layer: LayerSpec) -> torch.Tensor:
    """Between [out, in] and the order in which the module stores it; the same both ways."""
    return weight.t() if layer.transposed and weight.dim() == 2 else weight


def _tensor(weight: object, layer: LayerSpec) -> torch.Tensor:
    if not isinstance(weight, torch.Tensor):
        raise BadWeight(f"{layer.name}.weight is a {type(weight).__name__}, not a tensor")
    return weight


def _checked(value: object, layer: LayerSpec) -> torch.Tensor:
    weight = _tensor(value, layer)
    if tuple(weight.shape) != layer.shape:
        raise BadWeight(f"{layer.name}.weight has shape {list(weight.shape)} instead of {list(layer.shape)}")
    if weight.is_complex() or weight.is_sparse or weight.is_quantized:
        raise BadWeight(f"{layer.name}.weight is not a dense tensor of real numbers")
    return weight.detach().to(device="cpu", dtype=torch.float32).contiguous()
