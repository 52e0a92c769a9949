"""Masks from saliencies: the one place where a budget or a pattern becomes a choice of weights."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch.nn.functional import pad

from sandbox.interface import Sparsity
from sandbox.slices import slices


def keep_largest(
    saliency: torch.Tensor, sparsity: Sparsity, scope: Literal["layer", "row"], heads: int | None = None
) -> torch.Tensor:
    """Bool mask [out, in] that keeps the weights of largest saliency.

    With an n:m pattern the n largest of each m consecutive ones in a row are kept, with a structure the rows, columns
    or heads whose saliencies have the largest sum. Otherwise exactly floor(size * ratio) weights of the layer, or
    floor(in * ratio) of each row, are not kept; of equal saliencies as many are kept as it takes.

    Args:
        saliency: [out, in], any real dtype; NaN counts as the largest.
        sparsity: the task's.
        scope: what competes with what, where neither a pattern nor a structure says it.
        heads: the layer's `heads`; only a structure of heads asks for it, and keeps everything where it is None.
    """
    if sparsity.structure is not None:
        return keep_structures(saliency, sparsity.structure, sparsity.ratio, heads)
    if sparsity.n is not None and sparsity.m is not None:
        return keep_in_groups(saliency, sparsity.n, sparsity.m)
    rows = saliency.reshape(1, -1) if scope == "layer" else saliency
    return without_smallest(rows, int(rows.shape[1] * sparsity.ratio)).reshape(saliency.shape)


def keep_in_groups(saliency: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """Bool mask [out, in] that keeps the n largest of each m consecutive weights in a row.

    What is left at a row's end, if m does not divide it, is a group too, and keeps up to n. Of equal saliencies
    those go that torch.topk finds first, as in the Wanda paper's code: in a quantised model it matters.
    """
    rest = -saliency.shape[1] % m
    groups = pad(saliency, (0, rest), value=-torch.inf).unflatten(1, (-1, m))
    pruned = groups.topk(m - n, dim=-1, largest=False).indices
    mask = torch.ones_like(groups, dtype=torch.bool).scatter_(-1, pruned, False).flatten(1)
    return mask[:, : saliency.shape[1]]


def without_smallest(rows: torch.Tensor, count: int) -> torch.Tensor:
    """Bool mask [rows, columns] without the `count` smallest of each row; of equal ones the first go."""
    if count == 0:
        return torch.ones_like(rows, dtype=torch.bool)
    if rows.device.type != "cpu":
        return without_first(rows, count)
    values = (rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows).detach().numpy()
    # numpy selects and compares with vector instructions, several times as fast as torch
    limit = np.partition(values, count - 1, axis=1)[:, count - 1 : count]
    if np.isnan(limit).any():  # so many are NaN that some of them must go
        return without_first(rows, count)
    gone = values <= limit
    if np.count_nonzero(gone) != count * len(gone):  # more are equal to the limit than have to go
        for row in np.flatnonzero(np.count_nonzero(gone, axis=1) != count):
            equal = np.flatnonzero(values[row] == limit[row])
            gone[row, equal[count - np.count_nonzero(values[row] < limit[row]) :]] = False
    return torch.from_numpy(np.logical_not(gone, out=gone))


def without_first(rows: torch.Tensor, count: int) -> torch.Tensor:
    """The same by sorting: slower, but on any device and with any number of NaN."""
    pruned = rows.sort(dim=1, stable=True).indices[:, :count]
    return torch.ones_like(rows, dtype=torch.bool).scatter_(1, pruned, False)


def keep_structures(saliency: torch.Tensor, structure: str, ratio: float, heads: int | None) -> torch.Tensor:
    """Bool mask [out, in] without the floor(count * ratio) rows, columns or heads of smallest total saliency.

    It keeps everything where `structure` is `heads` and no heads enter the layer.
    """
    mask = torch.ones_like(saliency, dtype=torch.bool)
    parts, whole = slices(saliency, structure, heads), slices(mask, structure, heads)
    if parts is not None and whole is not None:
        count = int(len(parts) * ratio)
        whole[parts.sum(dim=(1, 2)).topk(count, largest=False, sorted=False).indices] = False  # a view of the mask
    return mask


def by_row(indicator: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Saliency [out, in], float64, that ranks weights by their row's `indicator` [out], and within a row by size."""
    rank = indicator.argsort().argsort().double()
    size = weight.abs().double()
    return rank[:, None] + size / (2 * size.max()).clamp(min=1e-300)
