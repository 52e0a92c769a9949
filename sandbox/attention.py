"""Which layer of a block takes the outputs of the attention heads, found by what it does and not by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def changed_first_token(hidden: torch.Tensor) -> torch.Tensor:
    """`hidden` [n, seqlen, hidden_size] with other numbers at the first position, and only there."""
    changed = hidden.clone()
    changed[:, 0] += torch.linspace(1, 2, hidden.shape[-1])  # not the same for all features: a norm would remove that
    return changed


def attention_heads(
    before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor], config: Any
) -> dict[str, int]:
    """The attention's output projection of a block and its number of heads; empty where there is none.

    Attention is what mixes positions, so the first layer of which a later position's input has changed with the
    first token is the one that takes the heads' outputs, in_features / heads for each.

    Args:
        before: what enters each layer, [1, seqlen, in_features], in the order in which the layers run.
        after: the same, once the first token was changed.
        config: of the model, as transformers reads it.
    """
    mixed = next((name for name, inputs in before.items() if _differs(inputs, after.get(name))), None)
    heads = getattr(config.get_text_config(), "num_attention_heads", 0)
    if mixed is None or not isinstance(heads, int) or heads < 1 or before[mixed].shape[-1] % heads:
        return {}
    return {mixed: heads}


def _differs(before: torch.Tensor, after: torch.Tensor | None) -> bool:
    """Whether the positions behind the first one differ."""
    later = before.reshape(-1, before.shape[-1])[1:]
    return after is not None and not torch.equal(later, after.reshape(-1, after.shape[-1])[1:])
