"""The prunable weights during a run: dense on disk, live in the pruner's hands, or written to the output file."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from sandbox.checkpoint import CPU, Checkpoint
from sandbox.layout import LayerSpec, OutputFile, block_parameters, oriented


class BadWeight(ValueError):
    """A weight was given another shape, or is not a real tensor: the run has no usable output."""


class Weights:
    """Weights by index in `layers`, always [out_features, in_features] and float32.

    Live weights are on the checkpoint's device, written ones in the CPU's memory. A weight becomes live when a pruner
    first reads it, and may then be changed in place or replaced. `write` puts live weights into the output file and
    lets go of them, so that only a block's worth is in memory, unless the pruner itself holds on to a tensor: what it
    changes there later counts too. Pruners may use threads.
    """

    def __init__(self, checkpoint: Checkpoint, layers: Sequence[LayerSpec], output: OutputFile) -> None:
        self.layers = layers
        self._checkpoint = checkpoint
        self._output = output
        self._lock = threading.RLock()
        self._live: dict[int, torch.Tensor] = {}
        self._twins: dict[int, torch.Tensor] = {}
        self._model: nn.Module | None = None

    def live(self, index: int) -> torch.Tensor:
        """The tensor that the pruner may change."""
        if self._model is not None:
            with self._lock:
                self._align(index)
            weight = self._module_weight(index)
            return oriented(weight.detach() if weight.requires_grad else weight, self.layers[index])
        with self._lock:
            if index not in self._live:
                self._live[index] = self._copy(self.written(index))
            return self._live[index]

    def assign(self, index: int, weight: torch.Tensor) -> None:
        """Replace a weight.

        Raises:
            BadWeight: `weight` is no real tensor of the layer's shape.
        """
        layer = self.layers[index]
        checked = _checked(weight, layer, self._checkpoint.device)
        if self._model is not None and layer.expert is not None:
            with self._lock:
                self._twins.pop(index, None)
                self._module_weight(index).data.copy_(oriented(checked, layer))
        elif self._model is not None:
            self._module_weight(index).data = oriented(checked, layer).clone()
        else:
            with self._lock:
                self._live[index] = checked.clone()

    def written(self, index: int) -> torch.Tensor:
        """A weight as last written, dense at first, in the CPU's memory. Never write into it."""
        return self._output.read(index, self._dense(index))

    def write(self, except_block: int | None = None) -> None:
        """Put every live weight, but for those of one block, into the output file.

        Raises:
            BadWeight: one has another shape, or is no real tensor any more.
        """
        with self._lock:
            live = range(len(self.layers)) if self._model is not None else sorted(self._live)
            for index in [index for index in live if self.layers[index].block != except_block]:
                layer = self.layers[index]
                self._output.write(index, _checked(self.live(index), layer), self._dense(index))
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
        for index in range(len(self.layers)):
            if not self._output.has(index):
                dense = self._dense(index)
                self._output.write(index, dense, dense)

    def parameters(self, block: int) -> Mapping[str, torch.Tensor]:
        """The written weights of a block under their parameters' names, oriented as the module stores them."""
        return block_parameters(self.layers, block, self.written)

    def model(self) -> nn.Module:
        """The whole model with the weights as they now are; from now on its modules hold the live weights."""
        if self._model is None:
            self.write()
            model = self._checkpoint.load(self._checkpoint.skeleton())
            for block in sorted({layer.block for layer in self.layers}):
                for name, stored in block_parameters(self.layers, block, self._current).items():
                    model.get_parameter(name).data = stored  # memory that the pruner holds is the model's from now on
            self._twins = {index: held for index, held in self._live.items() if self.layers[index].expert is not None}
            self._live = {}
            self._model = model
        for index in self._twins:
            self._align(index)
        return self._model

    def _current(self, index: int) -> torch.Tensor:
        """A weight as it is, live or written, in memory of its own."""
        if index in self._live:
            return _checked(self._live[index], self.layers[index], self._checkpoint.device)
        return self._copy(self.written(index))

    def _dense(self, index: int) -> torch.Tensor:
        return self._checkpoint.weight(self.layers[index]).cpu()

    def _copy(self, written: torch.Tensor) -> torch.Tensor:
        """A written weight in memory of its own, on the device."""
        return written.to(self._checkpoint.device, copy=True, memory_format=torch.contiguous_format)

    def _align(self, index: int) -> None:
        """Make a tensor that the pruner took of an expert before the model was loaded behave as if it were the model's.

        The memory of all experts of a parameter is one piece, and the model's. Whichever of the two was changed since
        the weights were last written is copied into the other.
        """
        twin = self._twins.get(index)
        if twin is None:
            return
        layer = self.layers[index]
        mine = oriented(self._module_weight(index).detach(), layer)
        checked_twin, checked_mine = _checked(twin, layer), _checked(mine, layer)
        if not torch.equal(checked_twin, self.written(index)):
            mine.copy_(checked_twin)
            self._output.write(index, checked_twin, self._dense(index))
        elif not torch.equal(checked_twin, checked_mine):
            twin.copy_(checked_mine)
            self._output.write(index, checked_mine, self._dense(index))

    def _module_weight(self, index: int) -> torch.Tensor:
        """The model's tensor of a layer as stored; of an expert a view of its part."""
        assert self._model is not None
        layer = self.layers[index]
        owner, _, leaf = layer.parameter.rpartition(".")
        try:
            weight: object = getattr(self._model.get_submodule(owner), leaf)
        except AttributeError as missing:
            raise BadWeight(f"the model has no {layer.parameter} any more") from missing
        tensor = _tensor(weight, layer)
        if layer.expert is None:
            return tensor
        if tensor.dim() != 3 or len(tensor) <= layer.expert:
            raise BadWeight(f"{layer.parameter} has shape {list(tensor.shape)}: {layer.name} is not in it any more")
        return tensor[layer.expert]


def _is_held(live: dict[int, torch.Tensor], index: int) -> bool:
    """Whether the pruner still holds a live tensor, a view of it, or an array on it.

    torch has no public way to count the users of a storage; its version is pinned.
    """
    return sys.getrefcount(live[index]) > 2 or _storage_uses(live[index]) > _USES_OF_ONE


def _storage_uses(tensor: torch.Tensor) -> int:
    return int(torch._C._storage_Use_Count(tensor.untyped_storage()._cdata))


_USES_OF_ONE = _storage_uses(torch.zeros(1))


def _tensor(weight: object, layer: LayerSpec) -> torch.Tensor:
    if not isinstance(weight, torch.Tensor):
        raise BadWeight(f"{layer.name}.weight is a {type(weight).__name__}, not a tensor")
    return weight


def _checked(value: object, layer: LayerSpec, device: torch.device = CPU) -> torch.Tensor:
    weight = _tensor(value, layer)
    if tuple(weight.shape) != layer.shape:
        raise BadWeight(f"{layer.name}.weight has shape {list(weight.shape)} instead of {list(layer.shape)}")
    if weight.is_complex() or weight.is_sparse or weight.is_quantized:
        raise BadWeight(f"{layer.name}.weight is not a dense tensor of real numbers")
    return weight.detach().to(device, torch.float32).contiguous()
