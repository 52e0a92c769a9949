"""Random pruning: of each layer, weights drawn uniformly go. The floor that every indicator must beat."""

import torch

from sandbox.interface import Task
from sandbox.masks import keep_largest


def prune(task: Task) -> None:
    for layer in task.layers():
        drawn = torch.rand(layer.weight.shape, generator=task.generator)
        layer.keep(keep_largest(drawn, task.sparsity, scope="layer", heads=layer.heads))
