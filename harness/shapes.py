"""Numbers that decide what a model takes of memory: of its parameters, its blocks and its layers' inputs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from harness.targets import Target
from sandbox.layout import LayerSpec
from sandbox.streaming import BATCH_TOKENS, SMALL_BLOCK, find_blocks

_RANKING_COPIES = 12
"""Of a layer while its weights are ranked: topk alone sorts pairs of 16 bytes."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """Numbers of floats; what is of a block is that of the block that has the most."""

    parameters: int
    around: int
    """Parameters outside of the blocks."""
    block: int
    copies: int
    """Of a block while it runs, its own included."""
    widths: int
    """What enters and leaves a block's layers for a token."""
    ranked: int
    """Temporaries of ranking the largest layer's weights."""
    grams: int
    """The Gram matrices of a block's inputs."""
    largest_gram: int
    all_grams: int
    """Over all blocks."""
    hidden: int
    vocabulary: int

    @classmethod
    def of(cls, target: Target) -> Shapes:
        """Of a target, from its config alone."""
        model: Any = target.checkpoint.skeleton()
        model.tie_weights()
        _, modules = find_blocks(model)
        blocks = [sum(parameter.numel() for parameter in block.parameters()) for block in modules]
        parameters = sum(parameter.numel() for parameter in model.parameters())
        layers = [list(group) for _, group in groupby(target.layers, key=lambda layer: layer.block)]
        grams = [_grams(block) for block in layers]
        return cls(
            parameters=parameters,
            around=parameters - sum(blocks),
            block=max(blocks),
            copies=3 if any(layer.expert is not None for layer in target.layers) else 2,  # experts are stacked
            widths=max(sum(sum(layer.shape) for layer in block) for block in layers),
            ranked=_RANKING_COPIES * max(layer.size for layer in target.layers),
            grams=max(sum(block) for block in grams),
            largest_gram=max(max(block) for block in grams),
            all_grams=sum(sum(block) for block in grams),
            hidden=target.layers[0].in_features,
            vocabulary=int(target.checkpoint.config.vocab_size),
        )

    def lanes(self, threads: int) -> int:
        """Batches that run side by side."""
        return threads if self.block <= SMALL_BLOCK else 1

    def passing(self, windows: tuple[int, ...], threads: int) -> int:
        """Floats that a pass of windows [n, seqlen] through the blocks holds."""
        count, seqlen = windows
        batch = min(count, max(1, BATCH_TOKENS // seqlen)) * seqlen
        lanes = self.lanes(threads) * 2 * batch * (self.widths + seqlen)  # the latter for an attention mask
        return self.around + self.copies * self.block + count * seqlen * self.hidden + lanes


def _grams(block: list[LayerSpec]) -> list[int]:
    """Sizes of the Gram matrices of a block's inputs.

    Layers in a row that are as wide are given the same one, but for the layer after the heads, and for other experts.
    """
    inputs = groupby(block, key=lambda layer: (layer.in_features, layer.heads, layer.expert))
    return [width**2 for (width, _, _), _ in inputs]
