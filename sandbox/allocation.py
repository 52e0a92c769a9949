"""Budgets that differ from block to block: what a pruner with `UNIFORM = False` may share out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from sandbox.interface import NotApplicable, Task

OUTLIER_TIMES_MEAN = 5.0
SPREAD = 0.08
"""M and lambda, as the authors of OWL use them for LLaMA-7B at 70% sparsity."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A ratio, unstructured, in the place of `task.sparsity`: a layer's share, or a step on the way to a target."""

    ratio: float
    n: None = None
    m: None = None
    structure: None = None


def outlier_budgets(task: Task, outlier: float = OUTLIER_TIMES_MEAN, spread: float = SPREAD) -> dict[str, Budget]:
    """A budget for each layer by name: blocks with more outliers keep more (OWL).

    With A_ij = |W_ij| * ||X_j||_2 over all layers of block b, its outlier ratio D_b is the share of the A_ij above
    `outlier` times their mean (Yin et al. 2024, "Outlier Weighed Layerwise Sparsity (OWL)", section 3, equation 1 and
    what follows it). The block's ratio is

        s_b = s - spread * (D_b - mean D) / max |D_b - mean D|

    with the mean weighted by the number of weights, so that every s_b lies within s +- spread and their weighted mean
    is s, as the paper asks. (Its code scales the range of the s_b to 2 * spread, which holds the mean but not
    the bounds.) `spread` is lowered where s +- spread would leave [0, 1).

    Layers of a block prune whole columns' worth: k / in_features with an integer k, the largest remainders rounded up
    until all layers together have s of the weights. This asks for the statistics of all layers, at the weights as
    they are now, before any is pruned.

    Args:
        task: unstructured.
        outlier: M, how many times the mean an outlier is.
        spread: lambda.

    Raises:
        NotApplicable: the sparsity is a pattern or a structure, which leaves nothing to share out.
        ArithmeticError: the calibration inputs of a layer are not finite.
    """
    sparsity = task.sparsity
    if sparsity.n is not None or sparsity.structure is not None:
        raise NotApplicable("budgets by outliers are ratios: an n:m pattern or a structure asks the same of each layer")
    shapes: dict[str, tuple[int, int, int]] = {}
    products: dict[int, list[torch.Tensor]] = {}
    ratios: dict[int, float] = {}
    for layer in task.layers():
        for done in [block for block in products if block != layer.block]:
            ratios[done] = outlier_ratio(products.pop(done), outlier)
        shapes[layer.name] = (layer.block, *layer.weight.shape)
        norm = layer.input_norm
        if not norm.isfinite().all():
            raise ArithmeticError(f"{layer.name}: the calibration inputs are not finite")
        products.setdefault(layer.block, []).append(layer.weight.abs() * norm)
    ratios |= {block: outlier_ratio(parts, outlier) for block, parts in products.items()}
    sizes = dict.fromkeys(ratios, 0)
    for block, out_features, in_features in shapes.values():
        sizes[block] += out_features * in_features
    targets = spread_ratios(ratios, sizes, sparsity.ratio, spread)
    return _whole_columns(shapes, targets, sparsity.ratio)


def outlier_ratio(parts: list[torch.Tensor], outlier: float) -> float:
    """D: which share of the numbers in `parts` is above `outlier` times the mean of them all."""
    count = sum(part.numel() for part in parts)
    mean = sum(float(part.sum(dtype=torch.float64)) for part in parts) / count
    return sum(int((part > outlier * mean).sum()) for part in parts) / count


def spread_ratios(outliers: dict[int, float], sizes: dict[int, int], ratio: float, spread: float) -> dict[int, float]:
    """s_b of `outlier_budgets`, by block, for the outlier ratios and the numbers of weights by block."""
    total = sum(sizes.values())
    mean = sum(outliers[block] * sizes[block] for block in outliers) / total
    furthest = max(abs(share - mean) for share in outliers.values())
    reach = min(spread, ratio, (1 - ratio) / 2) / furthest if furthest > 1e-12 else 0.0
    return {block: ratio - reach * (share - mean) for block, share in outliers.items()}


def _whole_columns(
    shapes: dict[str, tuple[int, int, int]], targets: dict[int, float], ratio: float
) -> dict[str, Budget]:
    """Budgets k / in_features whose zeros add up to `ratio` of all weights, or a little more."""
    exact = {name: in_features * targets[block] for name, (block, _, in_features) in shapes.items()}
    columns = {name: math.floor(value) for name, value in exact.items()}
    missing = sum(out_features * in_features * ratio for _, out_features, in_features in shapes.values())
    missing -= sum(columns[name] * out_features for name, (_, out_features, _) in shapes.items())
    for name in sorted(exact, key=lambda name: columns[name] - exact[name]):
        if missing < 0.5:  # less than a weight: only rounding is left of it
            break
        columns[name] += 1
        missing -= shapes[name][1]
    # the next float above, so that floor(in_features * ratio) is the integer that it came from
    return {
        name: Budget(math.nextafter(count / shapes[name][2], 1) if count else 0.0) for name, count in columns.items()
    }
