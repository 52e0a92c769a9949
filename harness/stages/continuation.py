"""Continuation: how a model goes on from a prompt, one most likely token after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import GenerationConfig

from harness.pruned_model import pruned_model
from harness.targets import Target
from harness.text import decoded

TEXT_TOKENS = 20
"""How many tokens are generated for a prompt unless told otherwise; the paper's Table 6 shows about as many."""


@dataclass(frozen=True)
class TextPrompt:
    """What models go on from: ids [1, n] of a text, for `tokens` tokens."""

    ids: np.ndarray
    tokens: int


def continued(
    target: Target, prompt: TextPrompt, weights: Callable[[int], Mapping[str, torch.Tensor]] | None = None
) -> str:
    """How a target goes on from a prompt, with pruned weights as `pruned_model` takes them, or dense."""
    model = pruned_model(target.checkpoint, weights)
    return decoded(continuation(model, prompt.ids, prompt.tokens), target)


def continuation(model: nn.Module, ids: np.ndarray, tokens: int) -> list[int]:
    """The ids of the `tokens` tokens that follow the prompt `ids` [1, n] when the likeliest is always taken.

    Neither an end-of-text token nor any generation setting of the checkpoint changes that: no sampling, no beams,
    no penalty, and exactly `tokens` tokens.
    """
    generator: Any = model
    generator.generation_config = GenerationConfig()  # transformers fills in from it what a call leaves open
    greedy = GenerationConfig(
        do_sample=False, num_beams=1, min_new_tokens=tokens, max_new_tokens=tokens, use_cache=True, pad_token_id=0
    )
    prompt = torch.from_numpy(ids)
    with torch.no_grad():
        output = generator.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=greedy)
    return [int(token) for token in output[0, prompt.shape[1] :]]
