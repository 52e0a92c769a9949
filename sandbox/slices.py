"""Rows, columns and attention heads of a weight: the structures that can be removed as a whole."""

from __future__ import annotations

import torch


def slices(weight: torch.Tensor, structure: str, heads: int | None) -> torch.Tensor | None:
    """A view [n_structures, ..., ...] of a weight [out, in], one entry for each structure.

    A row is what one output reads, a column what one input feeds, a head the in / heads consecutive columns that one
    attention head feeds. None for `heads` where no heads enter the layer: then nothing is asked of it.

    Raises:
        ValueError: `structure` is none of rows, columns, heads.
    """
    if structure == "rows":
        return weight[:, :, None]
    if structure == "columns":
        return weight.t()[:, :, None]
    if structure == "heads":
        return weight.unflatten(1, (heads, -1)).transpose(0, 1) if heads else None
    raise ValueError(f"there is no structure {structure!r}: rows, columns or heads")
