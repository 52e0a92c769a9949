"""Movement: what the removed weights contributed moves to the kept ones, so that the layer answers as before.

The idea of the paper draft (section 4.2): "instead of directly removing weights, movement pruning identifies
unimportant weights and moves their values to other more significant connections". Here the values move where they keep
the layer's output best. With C = X^T X / n + damping and a row's kept weights K and removed ones P, that is a
least-squares problem whose optimum is

    W'_K = W_K + W_P C_PK (C_KK)^-1

(the optimal brain surgeon of Hassibi and Stork 1993, for many weights at once). Which weights to keep is the harder
half. It is found with the alternating direction method of multipliers (Boyd et al. 2011, section 9.1, on the splitting

    minimise |(X - W) C^(1/2)|^2 subject to X = Z, Z sparse,

whose first step is (W C + rho (Z - U)) (C + rho I)^-1, whose second keeps the largest of X + U, and whose third adds up
what was cut off), with input features scaled to norm 1 and a sparsity that rises to its target over the first
steps (Boža 2024, "Fast and Effective Weight Update for Pruned Large Language Models"; the cubic rise is that of Zhu
and Gupta 2017). Conjugate gradients then fit the kept weights (as Meng et al. 2024, "ALPS").

Not Sanh et al.'s movement pruning: see `first_order_movement`; `row_sum_movement` is the variant without inputs.
"""

import torch

from sandbox.allocation import Budget
from sandbox.interface import Sparsity, Task
from sandbox.masks import keep_largest

STEPS = 20
RISING_STEPS = 15
RHO = 1.0
FITTING_STEPS = 10
DAMPING = 0.02
"""Of C's diagonal, which is 1 once the input features are scaled."""


def prune(task: Task) -> None:
    for layer in task.layers():
        if task.sparsity.structure == "heads" and layer.heads is None:
            continue
        hessian = layer.hessian
        scale = hessian.diagonal().sqrt()
        dead = scale == 0
        scale[dead] = 1
        hessian /= scale
        hessian /= scale[:, None]
        hessian.diagonal()[dead] = 1
        inverse = damped_inverse(hessian)
        weight = torch.where(dead, 0, layer.weight) * scale
        kept, start = chosen(weight, hessian, inverse, task.sparsity, layer.heads)
        layer.weight = fitted(weight, hessian, kept, start) / scale


def damped_inverse(hessian: torch.Tensor) -> torch.Tensor:
    """(C + rho I)^-1 [in, in]; `hessian`, of unit diagonal, has the damping afterwards.

    Raises:
        ArithmeticError: the calibration is not finite. Nothing else can be wrong: rho is as large as the diagonal.
    """
    hessian.diagonal().add_(DAMPING)
    shifted = hessian.clone()
    shifted.diagonal().add_(RHO)
    factor, failed = torch.linalg.cholesky_ex(shifted)
    if failed or not torch.isfinite(factor).all():
        raise ArithmeticError("the Hessian has no Cholesky factor: are the calibration inputs finite?")
    return torch.cholesky_inverse(factor)


def chosen(
    weight: torch.Tensor, hessian: torch.Tensor, inverse: torch.Tensor, sparsity: Sparsity, heads: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The mask [out, in] of the weights to keep, by alternating directions, and what they are before the last fit."""
    wanted = weight @ hessian @ inverse
    multiplier = torch.zeros_like(weight)
    moved = weight
    for step in range(1, STEPS + 1):
        there = 1 - (1 - min(1, step / RISING_STEPS)) ** 3
        now = sparsity if there == 1 else Budget(sparsity.ratio * there)  # unstructured on the way
        both = moved + multiplier
        kept = keep_largest(both.abs(), now, scope="layer", heads=heads)
        sparse = both * kept  # all is finite, and torch.where takes several times as long
        multiplier = both - sparse
        moved = torch.addmm(wanted, sparse - multiplier, inverse, alpha=RHO)
    return keep_largest((moved + multiplier).abs(), sparsity, scope="layer", heads=heads), moved


def fitted(weight: torch.Tensor, hessian: torch.Tensor, kept: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """The kept weights [out, in] that keep the output best, by preconditioned conjugate gradients from `start`."""
    diagonal = hessian.diagonal()
    result = start * kept
    residual = (weight - result) @ hessian * kept
    direction = residual / diagonal
    size = (residual * direction).sum(dim=1, keepdim=True)
    for _ in range(FITTING_STEPS):
        answer = direction @ hessian * kept
        length = size / (direction * answer).sum(dim=1, keepdim=True).clamp(min=1e-30)
        result = result + length * direction
        residual = residual - length * answer
        smoothed = residual / diagonal
        before, size = size, (residual * smoothed).sum(dim=1, keepdim=True)
        direction = smoothed + size / before.clamp(min=1e-30) * direction
    return result
