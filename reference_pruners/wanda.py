"""Wanda: pruning by weights and activations.

S_ij = |W_ij| * ||X_j||_2, compared within each output row (Sun et al. 2024, "A Simple and Effective Pruning Approach
for Large Language Models", equation 1). X_j is input feature j over all calibration tokens.
"""

from sandbox.interface import Task
from sandbox.masks import keep_largest


def prune(task: Task) -> None:
    for layer in task.layers():
        layer.keep(keep_largest(layer.weight.abs() * layer.input_norm, task.sparsity, scope="row", heads=layer.heads))
