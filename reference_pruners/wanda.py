"""Wanda: pruning by weights and activations.

S_ij = |W_ij| * ||X_j||_2, compared within each output row (Sun et al. 2024, "A Simple and Effective Pruning Approach
for Large Language Models", equation 1). X_j is input feature j over all calibration tokens.
"""

from sandbox.interface import Task
from sandbox.masks import keep_largest


def prune(task: Task) -> None:
    for layer in task.layers():
        norm = layer.input_norm
        if not norm.isfinite().all():
            raise ArithmeticError(f"{layer.name}: the calibration inputs are not finite")
        layer.keep(keep_largest(layer.weight.abs() * norm, task.sparsity, scope="row", heads=layer.heads))
