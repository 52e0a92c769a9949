"""Movement pruning of first order, in one shot: weights that the loss pushes towards zero go.

S_ij = -W_ij * dL/dW_ij, compared over the layer (Sanh et al. 2020, "Movement Pruning: Adaptive Sparsity by
Fine-Tuning", equation 2 with one step). There the gradient is summed over fine-tuning steps; here it is the mean over
the calibration sequences at the dense weights. Not the paper draft's "Movement": see `movement`.
"""

from sandbox.interface import Task
from sandbox.masks import keep_largest


def prune(task: Task) -> None:
    for layer in task.layers():
        gradient = layer.grad
        if not gradient.isfinite().all():
            raise ArithmeticError(f"{layer.name}: the gradient of the calibration loss is not finite")
        layer.keep(keep_largest(-layer.weight * gradient, task.sparsity, scope="layer", heads=layer.heads))
