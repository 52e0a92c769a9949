"""Magnitude pruning: of each layer, the weights of smallest absolute value go.

S_ij = |W_ij|, compared over the layer (Han et al. 2015, "Learning both Weights and Connections for Efficient Neural
Networks"; the layer-wise form is the baseline of the Wanda and SparseGPT papers).
"""

from sandbox.interface import Task
from sandbox.masks import keep_largest


def prune(task: Task) -> None:
    for layer in task.layers():
        layer.keep(keep_largest(layer.weight.abs(), task.sparsity, scope="layer", heads=layer.heads))
