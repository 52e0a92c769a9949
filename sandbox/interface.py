"""The pruning interface, version 1: all that a pruner sees.

A pruner is one Python file that defines

    def prune(task): ...

which changes the prunable weights of the decoder blocks so that `task.sparsity` is met. Nothing else of the file
is called. It runs once, or once a round at rising sparsity where that was asked for, each time on the weights as they
then are, with no network, and may use torch, numpy and Python's standard library. What it prints counts for nothing:
the weights are read when `prune` has returned.

What is checked afterwards, layer by layer, from the weights alone:

- zeros are counted exactly (1e-30 is not zero). For a ratio alone, a layer of shape [out, in] needs at least
  min(out * floor(in * ratio), in * floor(out * ratio)) of them: rounding down by row or by column is fine;
- with an n:m pattern, at most n weights of each m consecutive ones in a row may be non-zero;
- with a structure, at least floor(count * ratio) of each layer's rows or columns, or of the attention heads where they
  enter a layer, must be zero as a whole;
- every weight is finite, and every shape is as it was.

A file that spreads the budget unevenly over the layers says so with a module constant, `UNIFORM = False`: then the
sum over all layers is checked instead. A pruner that cannot apply to a model (one of biases, on a model without
biases) raises `NotApplicable`.

The calls, in a pruner that is of no use (it removes weights by their place in the row):

    import torch

    def prune(task):
        for layer in task.layers():
            column = torch.arange(layer.weight.shape[1])
            if task.sparsity.n is not None:
                kept = column % task.sparsity.m < task.sparsity.n
            else:
                kept = column >= int(len(column) * task.sparsity.ratio)
            layer.keep(kept.expand_as(layer.weight))
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch

VERSION = 1


class NotApplicable(Exception):
    """Raised by a pruner that cannot apply to this model; its cell reads NA. Needs no import: it is predefined."""


class Sparsity(Protocol):
    """How much to prune."""

    @property
    def ratio(self) -> float:
        """In [0, 1): the fraction of the weights, or structures, that must be exactly zero (1 - n/m with a pattern)."""

    @property
    def n(self) -> int | None:
        """Weights kept of each `m` consecutive ones in a row; None when unstructured."""

    @property
    def m(self) -> int | None:
        """Length of a group; None when unstructured."""

    @property
    def structure(self) -> str | None:
        """`rows`, `columns` or `heads` where whole ones must go; else None."""


class Layer(Protocol):
    """One prunable linear layer. Weights are always [out_features, in_features], however they are stored.

    Of a mixture of experts each matrix of each expert is a layer, whose inputs may be empty: [0, in_features].
    Statistics are computed when first asked for, once for all layers that share an input.
    """

    weight: torch.Tensor
    """[out_features, in_features], float. Assign a new tensor of the same shape to change it."""

    @property
    def name(self) -> str:
        """Full module name, such as `model.layers.0.mlp.up_proj`."""

    @property
    def block(self) -> int:
        """Index of the decoder block."""

    @property
    def heads(self) -> int | None:
        """Attention heads whose outputs enter this layer, in_features / heads consecutive columns each; else None."""

    @property
    def bias(self) -> torch.Tensor | None:
        """[out_features], a copy: read only. None where the layer has none."""

    @property
    def inputs(self) -> torch.Tensor:
        """[n_tokens, in_features]: the calibration activations that enter the layer; of an expert, those sent to it."""

    @property
    def input_norm(self) -> torch.Tensor:
        """[in_features]: L2 norm of each input feature over the calibration tokens."""

    @property
    def hessian(self) -> torch.Tensor:
        """[in_features, in_features], float32: inputs^T inputs / calibration.numel(). May be changed: it is a copy."""

    @property
    def grad(self) -> torch.Tensor:
        """[out_features, in_features]: mean gradient of the loss (next-token cross-entropy) at the weights that
        the model had when `prune` was called: in a first round, those of the dense model."""

    @property
    def fisher(self) -> torch.Tensor:
        """[out_features, in_features]: mean over the calibration sequences of the squared gradient, as `grad`."""

    def keep(self, mask: torch.Tensor) -> None:
        """Zero the weights where `mask` (bool, shaped as `weight`) is False."""


class Task(Protocol):
    """What `prune` is handed."""

    @property
    def sparsity(self) -> Sparsity:
        """The target."""

    def layers(self) -> Iterator[Layer]:
        """Iterate over the prunable linear layers in forward order.

        When the iteration goes on to a layer of the next block, that block's inputs have been recomputed through
        the blocks as they now are. Within a block, the inputs of all layers are those at its weights when the
        iteration entered it.
        """

    @property
    def calibration(self) -> torch.Tensor:
        """LongTensor [n_sequences, seqlen] of token ids."""

    @property
    def generator(self) -> torch.Generator:
        """Seeded: use it for all randomness, so that a run can be repeated."""

    def note(self, text: str) -> None:
        """Keep a remark of at most 200 characters with the result; the first 20 of a run are kept."""

    @property
    def model(self) -> torch.nn.Module:
        """The whole model (a transformers causal language model), loaded when first asked for.

        Changes of the prunable layers' weights count; all others are ignored. Its parameters do not require gradients
        until you ask for it with requires_grad_().
        """
