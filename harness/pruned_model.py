"""The whole pruned model in memory, for what cannot be done block by block."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from sandbox.checkpoint import Checkpoint
from sandbox.streaming import find_blocks


def pruned_model(
    checkpoint: Checkpoint, weights: Callable[[int], Mapping[str, torch.Tensor]] | None = None
) -> nn.Module:
    """A transformers model in float32 and evaluation mode, with pruned weights in the place of the dense ones.

    Everything but `weights` is the checkpoint's. All of the model is in memory, 4 bytes a parameter.

    Args:
        checkpoint: the dense model.
        weights: for the index of a block, pruned weights by full parameter name, as the model stores them (what
            `PrunedWeights.parameters` gives); None leaves the model dense.
    """
    model = checkpoint.load(checkpoint.skeleton())
    if weights is not None:
        for block in range(len(find_blocks(model)[1])):
            for name, weight in weights(block).items():
                owner, _, leaf = name.rpartition(".")
                setattr(model.get_submodule(owner), leaf, nn.Parameter(weight, requires_grad=False))
    return model
