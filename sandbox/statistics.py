"""Calibration statistics of the prunable layers, computed when first asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch.nn.functional import cross_entropy

from sandbox.checkpoint import Checkpoint
from sandbox.layout import LayerSpec
from sandbox.streaming import StreamedModel
from sandbox.weights import Weights

Kind = Literal["norm", "hessian", "inputs"]


class InputStatistics:
    """What enters each layer of a block, summed over the calibration tokens.

    Block b sees its inputs through the blocks before it as they were last written (`sequential`), or through the
    dense ones (`dense`). Within a block, every layer's statistics are taken in one pass at the weights as last
    written, that is before this block was touched: as the Wanda and SparseGPT papers' code does.
    """

    def __init__(self, checkpoint: Checkpoint, weights: Weights, calibration: torch.Tensor, mode: str) -> None:
        self._model = StreamedModel(checkpoint)
        self._weights = weights
        self._calibration = calibration
        self._dense = mode == "dense"
        self._block = -1
        self._hidden: torch.Tensor | None = None
        self._results: dict[Kind, dict[str, torch.Tensor]] = {}

    def of(self, layer: LayerSpec, kind: Kind) -> torch.Tensor:
        """`norm` [in], `hessian` [in, in] or `inputs` [n_tokens, in] of a layer, float32; shared, so copy to change."""
        with torch.no_grad():
            self._enter(layer.block)
            if kind not in self._results:
                self._results[kind] = self._collect(layer.block, kind)
        return self._results[kind][layer.name]

    def _enter(self, block: int) -> None:
        """Bring the hidden states to a block's entrance."""
        if block == self._block:
            return
        self._weights.write(except_block=block)
        self._results = {}
        if self._hidden is None or block < self._block:
            self._hidden, self._block = self._model.embed(self._calibration), 0
        for passed in range(self._block, block):
            weights = None if self._dense else self._weights.parameters(passed)
            self._hidden = torch.cat(list(self._model.run_block(passed, self._hidden, weights)))
        self._block = block

    def _collect(self, block: int, kind: Kind) -> dict[str, torch.Tensor]:
        """One pass through a block; layers that are given the same tensor share one result."""
        assert self._hidden is not None
        leaders: dict[str, str] = {}
        sums: dict[str, list[torch.Tensor]] = {}
        last: list[tuple[str, torch.Tensor]] = []

        def watch(name: str, given: torch.Tensor) -> None:
            if last and last[0][1] is given:
                leaders[name] = last[0][0]
                return
            last[:] = [(name, given)]
            leaders[name] = name
            tokens = given.reshape(-1, given.shape[-1])
            if kind == "inputs":
                sums.setdefault(name, []).append(tokens.clone())
            elif kind == "norm":
                _add(sums, name, tokens.square().sum(dim=0))
            elif name in sums:
                sums[name][0].addmm_(tokens.t(), tokens)
            else:
                sums[name] = [tokens.t() @ tokens]

        weights = None if self._dense else self._weights.parameters(block)
        for _ in self._model.run_block(block, self._hidden, weights, watch):
            last.clear()
        results = {name: self._finished(kind, parts) for name, parts in sums.items()}
        return {name: results[leader] for name, leader in leaders.items()}

    def _finished(self, kind: Kind, parts: list[torch.Tensor]) -> torch.Tensor:
        if kind == "inputs":
            return torch.cat(parts)
        return parts[0].sqrt() if kind == "norm" else parts[0] / self._calibration.numel()


def _add(sums: dict[str, list[torch.Tensor]], name: str, value: torch.Tensor) -> None:
    if name in sums:
        sums[name][0].add_(value)
    else:
        sums[name] = [value]


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
    parameters = {layer.name: model.get_submodule(layer.name).get_parameter("weight") for layer in layers}
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    sums: dict[str, torch.Tensor] = {}
    for sequence in calibration.split(1):
        with torch.enable_grad():
            logits = model(input_ids=sequence).logits[0, :-1].float()
            cross_entropy(logits, sequence[0, 1:]).backward()
        if squared:
            for name, parameter in parameters.items():
                assert parameter.grad is not None
                square = parameter.grad.square_()
                sums[name] = square if name not in sums else sums[name].add_(square)
                parameter.grad = None
    means = {}
    for layer in layers:
        parameter = parameters[layer.name]
        total = sums[layer.name] if squared else parameter.grad
        if total is None:  # the loss does not depend on this layer
            total = torch.zeros_like(parameter)
        means[layer.name] = (total.t() if layer.transposed else total) / len(calibration)
    return means
