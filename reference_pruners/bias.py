"""Pruning by bias: the rows whose output has the smallest absolute bias go first.

S_ij = |b_i|, then |W_ij| among weights of one row, as the bias cannot tell those apart (the paper draft's Table 3,
"Prune by Bias"). Not applicable where a layer has no bias.
"""

from sandbox.interface import NotApplicable, Task
from sandbox.masks import by_row, keep_largest


def prune(task: Task) -> None:
    for layer in task.layers():
        if layer.bias is None:
            raise NotApplicable(f"{layer.name} has no bias")
        layer.keep(
            keep_largest(by_row(layer.bias.abs(), layer.weight), task.sparsity, scope="layer", heads=layer.heads)
        )
