"""Pruning by bias: the rows whose output has the smallest absolute bias go first.

S_ij = |b_i|, then |W_ij| among weights of one row, as the bias cannot tell those apart (the paper's Table 3, "Prune
by Bias"). Not applicable where a layer has no bias.
"""

import torch

from sandbox.interface import Layer, NotApplicable, Task
from sandbox.masks import keep_largest


def prune(task: Task) -> None:
    for layer in task.layers():
        layer.keep(keep_largest(saliency(layer), task.sparsity, scope="layer"))


def saliency(layer: Layer) -> torch.Tensor:
    """The rank of the row's bias, with the weight's share of the layer's largest as decimals."""
    if layer.bias is None:
        raise NotApplicable(f"{layer.name} has no bias")
    rank = layer.bias.abs().argsort().argsort().double()
    size = layer.weight.abs().double()
    return rank[:, None] + size / (2 * size.max()).clamp(min=1e-300)
