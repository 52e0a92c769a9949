"""The opposite of magnitude pruning: of each layer, the weights of largest absolute value go.

S_ij = -|W_ij| (the paper draft's Table 2, "Prune by -Weights"): a control that shows what the indicator is worth.
"""

from sandbox.interface import Task
from sandbox.masks import keep_largest


def prune(task: Task) -> None:
    for layer in task.layers():
        layer.keep(keep_largest(-layer.weight.abs(), task.sparsity, scope="layer", heads=layer.heads))
