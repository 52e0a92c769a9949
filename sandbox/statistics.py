"""Calibration statistics of the prunable layers, computed when first asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch
from safetensors import safe_open
from torch.nn.functional import cross_entropy

from sandbox.checkpoint import Checkpoint
from sandbox.layout import LayerSpec, oriented
from sandbox.streaming import StreamedModel
from sandbox.sums import Kind, Sums, totals
from sandbox.weights import Weights

KNOWN = "{kind}.safetensors"
"""The file beside the job in which the host shows statistics of the dense model that it has computed once."""


class InputStatistics:
    """What enters each layer of a block, summed over the calibration tokens.

    Block b sees its inputs through the blocks before it as they were last written (`sequential`), or through the
    dense ones (`dense`). Within a block, every layer's statistics are taken in one pass at the weights as last
    written, that is before this block was touched: as the Wanda and SparseGPT papers' code does. What enters an expert
    are the tokens that were sent to it, which may be none. What enters a layer that runs twice are both inputs.
    """

    def __init__(
        self, checkpoint: Checkpoint, weights: Weights, calibration: torch.Tensor, mode: str, dtype: torch.dtype
    ) -> None:
        """Nothing is computed yet; `dtype` is what the model computes in."""
        self._checkpoint = checkpoint
        self._dtype = dtype
        self._weights = weights
        self._calibration = calibration
        self._dense = mode == "dense"
        self._known = _known(checkpoint.folder.parent) if self._dense else {}
        self._lock = threading.Lock()  # pruners may use threads
        self._block = -1
        self._hidden: torch.Tensor | None = None
        self._left: torch.Tensor | None = None
        self._results: dict[Kind, dict[str, torch.Tensor]] = {}

    def of(self, layer: LayerSpec, kind: Kind) -> torch.Tensor:
        """`norm` [in], `hessian` [in, in] or `inputs` [n_tokens, in] of a layer, float32; shared, so copy to change."""
        if kind in self._known:
            return self._known[kind].of(layer, kind).to(self._checkpoint.device)
        with self._lock, torch.no_grad():
            self._enter(layer.block)
            if kind not in self._results:
                self._results[kind] = self._collect(layer.block, kind)
            result = self._results[kind].get(layer.name)
        if result is None:  # an expert to which no token was sent
            result = torch.zeros(_shape(layer, kind), device=self._checkpoint.device)
        return result

    def restart(self) -> None:
        """Forget what was seen through weights that may have been changed since; nothing of the dense model."""
        with self._lock:
            if not self._dense:
                self._block, self._hidden, self._left, self._results = -1, None, None, {}

    @cached_property
    def _model(self) -> StreamedModel:
        return StreamedModel(self._checkpoint, self._dtype)

    def _enter(self, block: int) -> None:
        """Bring the hidden states to a block's entrance."""
        if block == self._block and self._hidden is not None:
            return
        self._weights.write(except_block=block)
        self._results = {}
        if self._hidden is None or block < self._block:
            self._hidden, self._block, self._left = self._model.embed(self._calibration), 0, None
        for passed in range(self._block, block):
            hidden, self._hidden = self._hidden, None  # an error on the way, that a pruner may catch, leaves none
            if self._left is None:
                weights = None if self._dense else self._weights.parameters(passed)
                self._model.run_block(passed, hidden, weights, in_place=True)
            else:
                hidden, self._left = self._left, None
            self._hidden, self._block = hidden, passed + 1

    def _collect(self, block: int, kind: Kind) -> dict[str, torch.Tensor]:
        """One pass through a block; what is given to several layers is summed once.

        Of a block that will be changed, what comes after the last layer's input need not be computed.
        """
        assert self._hidden is not None
        layers = [layer for layer in self._weights.layers if layer.block == block]
        weights = None if self._dense else self._weights.parameters(block)
        found, left = _summed(self._model, layers, kind, self._hidden, weights, cut=not self._dense)
        self._left = left if self._dense else None
        return found


class _Known:
    """Statistics of the dense model that the host has computed; a name stands for the layer with the same inputs."""

    def __init__(self, path: Path) -> None:
        self._file = safe_open(path, framework="pt")
        self._names = self._file.metadata()

    def of(self, layer: LayerSpec, kind: Kind) -> torch.Tensor:
        """As `InputStatistics.of`."""
        if layer.name not in self._names:
            return torch.zeros(_shape(layer, kind))
        result: torch.Tensor = self._file.get_tensor(self._names[layer.name])
        return result


def _known(folder: Path) -> dict[Kind, _Known]:
    kinds: tuple[Kind, ...] = ("norm", "hessian")
    paths = {kind: folder / KNOWN.format(kind=kind) for kind in kinds}
    return {kind: _Known(path) for kind, path in paths.items() if path.is_file()}


def dense_blocks(
    checkpoint: Checkpoint, layers: Sequence[LayerSpec], calibration: torch.Tensor, kind: Kind, dtype: torch.dtype
) -> Iterator[dict[str, torch.Tensor]]:
    """Statistics of the dense model by layer name, block by block, in one pass; what `InputStatistics` gives."""
    model = StreamedModel(checkpoint, dtype)
    with torch.no_grad():
        hidden = model.embed(calibration)
        for block in range(model.blocks):
            here = [layer for layer in layers if layer.block == block]
            found, hidden = _summed(model, here, kind, hidden, None, cut=False)
            yield found


def _summed(
    model: StreamedModel,
    layers: Sequence[LayerSpec],
    kind: Kind,
    hidden: torch.Tensor,
    weights: Mapping[str, torch.Tensor] | None,
    cut: bool,
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The statistics of a block's layers by name, and what leaves it [n, seqlen, hidden_size], undefined with `cut`."""
    cut = cut and all(layer.expert is None for layer in layers)
    sums = [Sums(kind, {layer.name for layer in layers}, cut) for _ in range(model.lanes)]
    left = model.run_block(layers[0].block, hidden, weights, lambda lane: sums[lane].batch())
    return totals(kind, sums, hidden.shape[0] * hidden.shape[1]), left


def _shape(layer: LayerSpec, kind: Kind) -> tuple[int, ...]:
    rows = {"norm": (), "hessian": (layer.in_features,), "inputs": (0,)}
    return *rows[kind], layer.in_features


def gradients(
    checkpoint: Checkpoint,
    layers: Sequence[LayerSpec],
    calibration: torch.Tensor,
    squared: bool,
    weights: Weights | None = None,
) -> dict[str, torch.Tensor]:
    """Mean over the sequences of the gradient, or of its square, by layer name, [out, in].

    The loss of a sequence is the mean cross-entropy of its next-token predictions, in float32.

    Args:
        checkpoint: the dense model.
        layers: the prunable layers.
        calibration: token ids, [n_sequences, seqlen].
        squared: whether the squares are wanted.
        weights: the layers' weights as last written, in place of the dense ones.
    """
    model = checkpoint.load(checkpoint.skeleton())
    if weights is not None:
        for block in sorted({layer.block for layer in layers}):
            for name, weight in weights.parameters(block).items():
                model.get_parameter(name).data = weight.to(checkpoint.device, copy=True)
    parameters = {layer.parameter: model.get_parameter(layer.parameter) for layer in layers}
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    sums: dict[str, torch.Tensor] = {}
    for sequence in calibration.to(checkpoint.device).split(1):
        with torch.enable_grad():
            logits = model(input_ids=sequence).logits[0, :-1].float()
            cross_entropy(logits, sequence[0, 1:]).backward()
        if squared:
            for name, parameter in parameters.items():
                if parameter.grad is not None:  # an expert of its own may have got no token
                    square = parameter.grad.square_()
                    sums[name] = square if name not in sums else sums[name].add_(square)
                    parameter.grad = None
    means = {}
    for layer in layers:
        parameter = parameters[layer.parameter]
        total = sums.get(layer.parameter) if squared else parameter.grad
        if total is None:  # the loss does not depend on this parameter
            total = torch.zeros_like(parameter)
        means[layer.name] = oriented(total if layer.expert is None else total[layer.expert], layer) / len(calibration)
    return means
