"""Score: perplexity of a model with pruned weights, from the host's own dense model and the checked bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from harness import console
from sandbox.checkpoint import Checkpoint
from sandbox.streaming import StreamedModel


def window_losses(
    checkpoint: Checkpoint,
    ids: np.ndarray,
    weights: Callable[[int], Mapping[str, torch.Tensor]] | None,
    description: str,
) -> list[float]:
    """Mean next-token cross-entropy, in nats, of each window [n, seqlen] over its seqlen - 1 predictions.

    Computed in float32, block by block. Perplexity is exp of the mean over the windows, as Wanda and SparseGPT
    measure it.

    Args:
        checkpoint: the dense model.
        ids: token ids, int64 [n, seqlen].
        weights: for a block, pruned weights by parameter name; None scores the dense model.
        description: what the progress bar says.
    """
    model = StreamedModel(checkpoint)
    tokens = torch.from_numpy(ids)
    losses = []
    with torch.no_grad(), console.progress(description, model.blocks + 1) as bar:
        hidden = model.embed(tokens)
        for block in range(model.blocks):
            hidden = torch.cat(list(model.run_block(block, hidden, weights and weights(block))))
            bar.advance()
        for window, states in zip(tokens.split(1), hidden.split(1), strict=True):
            logits = model.logits(window, states)[0, :-1].float()
            losses.append(float(cross_entropy(logits, window[0, 1:])))
        bar.advance()
    return losses
