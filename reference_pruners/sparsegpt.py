"""SparseGPT: weights are removed column by column, and those to the right make up for what was lost.

With H = X^T X + damping over the calibration tokens and U the upper Cholesky factor of H^-1, a weight's saliency is
W_ij^2 / U_jj^2, and removing it adds -(W_ij / U_jj) * U_jk to every W_ik with k > j (Frantar and Alistarh 2023,
"SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot", algorithm 1 and equations 3 and 4). Masks
are chosen in blocks of about 128 columns, over all rows of a block; of an n:m pattern, group by group.

Whole columns and heads go at once: those of smallest total W_ij^2 / [H^-1]_jj, and the columns K that are kept become
the least-squares fit of what the layer answered, W H_:K H_KK^-1, which is the update above for all that is removed.
Nothing can make up for a removed row, as each row has its own output.
"""

import torch

from sandbox.interface import Layer, Sparsity, Task
from sandbox.masks import keep_in_groups, keep_largest, without_smallest

BLOCK_COLUMNS = 128
STEP_COLUMNS = 16
"""Of a block, so many are updated one by one, and the others when these are done: the same, with fewer passes."""
SMALL_INVERSE = 192
"""Columns up to which a triangular matrix is inverted at once."""
DAMPING = 0.01
"""Of the mean of H's diagonal, added to it; raised tenfold as long as H has no Cholesky factor."""


def prune(task: Task) -> None:
    known = torch.empty(0)
    for layer in task.layers():
        if task.sparsity.structure == "heads" and layer.heads is None:
            continue
        hessian = layer.hessian
        sums = torch.stack([hessian.diagonal(), hessian.sum(dim=0)])
        if not torch.equal(sums, known):  # else the layer shares its input with the one before
            known, damped, dead = sums, hessian, hessian.diagonal() == 0
            factor, damping = inverse_factor(damped)
        if damping > DAMPING:
            task.note(f"{layer.name}: damping raised to {damping:.3g} of the mean diagonal")
        if task.sparsity.structure is None:
            layer.weight = compensated(layer, task.sparsity, factor, dead)
        else:
            layer.weight = without_structures(layer, task.sparsity, damped, factor, dead)


def without_structures(
    layer: Layer, sparsity: Sparsity, hessian: torch.Tensor, factor: torch.Tensor, dead: torch.Tensor
) -> torch.Tensor:
    """The weight of a layer without its least important rows, columns or heads, [out, in]."""
    weight = torch.where(dead, 0, layer.weight)
    inverse_diagonal = factor.square().sum(dim=0)
    mask = keep_largest(weight**2 / inverse_diagonal, sparsity, scope="layer", heads=layer.heads)
    kept = mask[0]
    if sparsity.structure == "rows" or kept.all() or not kept.any():
        return torch.where(mask, weight, 0)
    fitted = torch.zeros_like(weight)
    fitted[:, kept] = torch.linalg.solve(hessian[kept][:, kept], (weight @ hessian[:, kept]).t()).t()
    return fitted


def compensated(layer: Layer, sparsity: Sparsity, factor: torch.Tensor, dead: torch.Tensor) -> torch.Tensor:
    """The pruned weight of a layer, [out, in]."""
    columns = layer.weight.t().clone()  # [in, out]: a column of the weight is contiguous
    columns[dead] = 0
    pattern = sparsity.m or 1
    width = max(1, BLOCK_COLUMNS // pattern) * pattern
    step = max(1, STEP_COLUMNS // pattern) * pattern
    pruned = 0
    for start in range(0, len(columns), width):
        stop = min(start + width, len(columns))
        block, diagonal = columns[start:stop], factor.diagonal()[start:stop, None]
        share = factor[start:stop, start:] / diagonal  # U_jk / U_jj: what a removed weight moves to column k
        scale = diagonal**2
        if sparsity.n is None:
            wanted = int(columns.shape[1] * stop * sparsity.ratio) - pruned  # so that rounding does not add up
            pruned += wanted
            kept = without_smallest((block**2 / scale).reshape(1, -1), wanted).reshape(block.shape)
            removed = 1 - kept.float()
        else:
            removed = torch.empty_like(block)
        lost = torch.empty_like(block)
        for begin in range(0, len(block), step):
            end = min(begin + step, len(block))
            for i in range(begin, end):
                if sparsity.n is not None and sparsity.m is not None and i % sparsity.m == 0:
                    group = slice(i, i + sparsity.m)
                    saliency = block[group] ** 2 / scale[group]
                    removed[group] = 1 - keep_in_groups(saliency.t(), sparsity.n, sparsity.m).t().float()
                torch.mul(block[i], removed[i], out=lost[i])
                block[i + 1 : end].addr_(share[i, i + 1 : end], lost[i], alpha=-1)
            block[end:].addmm_(share[begin:end, end : len(block)].t(), lost[begin:end], alpha=-1)
        block -= lost
        columns[stop:].addmm_(share[:, len(block) :].t(), lost, alpha=-1)
    return columns.t()


def inverse_factor(hessian: torch.Tensor) -> tuple[torch.Tensor, float]:
    """U, upper triangular, with U^T U = (H + damping)^-1, and the damping as a share of the diagonal's mean.

    With rows and columns in reverse order, a Cholesky factorisation gives H = R R^T with R upper triangular; U = R^-1.
    `hessian` is changed: it has the damping afterwards.

    Raises:
        ArithmeticError: there is none even with strong damping: the calibration is not finite.
    """
    diagonal = hessian.diagonal()
    diagonal[diagonal == 0] = 1
    mean = diagonal.mean()
    damping = DAMPING * mean
    total = 0.0
    while True:
        diagonal += damping
        total += float(damping / mean)
        factor, failed = torch.linalg.cholesky_ex(hessian.flip(0, 1))
        if not failed:
            factor = factor.flip(0, 1)
            factor = inverted(factor)
            if factor.isfinite().all():
                return factor, round(total, 6)
        if not torch.isfinite(damping) or damping > 100 * diagonal.mean():
            raise ArithmeticError("the Hessian has no Cholesky factor: are the calibration inputs finite?")
        damping = damping * 10


def inverted(upper: torch.Tensor) -> torch.Tensor:
    """The inverse of an upper triangular matrix, [in, in], by halves: most of it is two products."""
    if len(upper) <= SMALL_INVERSE:
        inverse: torch.Tensor = torch.linalg.solve_triangular(upper, torch.eye(len(upper)), upper=True)
        return inverse
    half = len(upper) // 2
    inverse = torch.zeros_like(upper)
    inverse[:half, :half] = inverted(upper[:half, :half])
    inverse[half:, half:] = inverted(upper[half:, half:])
    inverse[:half, half:] = (inverse[:half, :half] @ upper[:half, half:] @ inverse[half:, half:]).neg_()
    return inverse
