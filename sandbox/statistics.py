"""Calibration statistics of the prunable layers, computed when first asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import cross_entropy

from sandbox.checkpoint import Checkpoint
from sandbox.layout import LayerSpec, oriented
from sandbox.streaming import StreamedModel
from sandbox.sums import Kind, Sums, totals
from sandbox.weights import Weights


class InputStatistics:
    """What enters each layer of a block, summed over the calibration tokens.

    Block b sees its inputs through the blocks before it as they were last written (`sequential`), or through the
    dense ones (`dense`). Within a block, every layer's statistics are taken in one pass at the weights as last
    written, that is before this block was touched: as the Wanda and SparseGPT papers' code does. What enters an expert
    are the tokens that were sent to it, which may be none. What enters a layer that runs twice are both inputs.
    """

    def __init__(self, checkpoint: Checkpoint, weights: Weights, calibration: torch.Tensor, mode: str) -> None:
        self._model = StreamedModel(checkpoint)
        self._weights = weights
        self._calibration = calibration
        self._dense = mode == "dense"
        self._block = -1
        self._hidden: torch.Tensor | None = None
        self._left: torch.Tensor | None = None
        self._results: dict[Kind, dict[str, torch.Tensor]] = {}

    def of(self, layer: LayerSpec, kind: Kind) -> torch.Tensor:
        """`norm` [in], `hessian` [in, in] or `inputs` [n_tokens, in] of a layer, float32; shared, so copy to change."""
        with torch.no_grad():
            self._enter(layer.block)
            if kind not in self._results:
                self._results[kind] = self._collect(layer.block, kind)
        result = self._results[kind].get(layer.name)
        if result is None:  # an expert to which no token was sent
            result = torch.zeros(_shape(layer, kind))
        return result

    def _enter(self, block: int) -> None:
        """Bring the hidden states to a block's entrance."""
        if block == self._block:
            return
        self._weights.write(except_block=block)
        self._results = {}
        if self._hidden is None or block < self._block:
            self._hidden, self._block, self._left = self._model.embed(self._calibration), 0, None
        for passed in range(self._block, block):
            if self._left is None:
                weights = None if self._dense else self._weights.parameters(passed)
                self._left = self._model.run_block(passed, self._hidden, weights)
            self._hidden, self._left = self._left, None
        self._block = block

    def _collect(self, block: int, kind: Kind) -> dict[str, torch.Tensor]:
        """One pass through a block; what is given to several layers is summed once.

        Of a block that will be changed, what comes after the last layer's input need not be computed.
        """
        assert self._hidden is not None
        layers = [layer for layer in self._weights.layers if layer.block == block]
        cut = not self._dense and all(layer.expert is None for layer in layers)
        sums = [Sums(kind, {layer.name for layer in layers}, cut) for _ in range(self._model.lanes)]
        weights = None if self._dense else self._weights.parameters(block)
        left = self._model.run_block(block, self._hidden, weights, lambda lane: sums[lane].batch())
        self._left = left if self._dense else None
        return totals(kind, sums, self._calibration.numel())


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
                model.get_parameter(name).data = weight.clone()
    parameters = {layer.parameter: model.get_parameter(layer.parameter) for layer in layers}
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    sums: dict[str, torch.Tensor] = {}
    for sequence in calibration.split(1):
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
