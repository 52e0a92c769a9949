"""Movement by row sums: the values of unimportant weights move to the larger weights of their row, whatever enters it.

The idea of the paper draft (section 4.2): "instead of directly removing weights, movement pruning identifies
unimportant weights and moves their values to other more significant connections". Here, with P the weights of a row
that magnitude pruning removes and K those it keeps,

    W'_ik = W_ik + (sum over P of W_ip) * |W_ik| / (sum over K of |W_ij|)

so that every row keeps its sum: what it answers to an input that is the same in all features. The values must be
read before the weights are zeroed; code that zeroes first moves nothing. A row of which nothing is kept moves nothing.
The simplest reading of the idea, which looks at weights alone: see `movement` for the one that keeps the output,
and `first_order_movement` for Sanh et al.'s movement pruning.
"""

import torch

from sandbox.interface import Task
from sandbox.masks import keep_largest


def prune(task: Task) -> None:
    for layer in task.layers():
        weight = layer.weight
        kept = keep_largest(weight.abs(), task.sparsity, scope="layer", heads=layer.heads)
        size = torch.where(kept, weight.abs(), 0)
        share = size / size.sum(dim=1, keepdim=True).clamp(min=torch.finfo(size.dtype).tiny)
        moved = torch.where(kept, 0, weight).sum(dim=1, keepdim=True)
        layer.weight = torch.where(kept, weight + moved * share, 0)
