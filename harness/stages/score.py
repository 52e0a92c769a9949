"""Score: loss and divergence of a model with pruned weights, from the host's own dense model and the checked bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from harness import console
from sandbox.checkpoint import Checkpoint
from sandbox.lanes import in_lanes
from sandbox.streaming import StreamedModel

BlockWeights = Callable[[int], Mapping[str, torch.Tensor]]
"""For the index of a block, pruned weights by full parameter name, as the model stores them."""


@dataclass(frozen=True)
class Measured:
    """What one pass over the windows [n, seqlen] gave."""

    states: torch.Tensor
    """What left the last block, [n, seqlen, hidden_size]."""
    losses: list[float]
    """Mean next-token cross-entropy of each window, in nats."""
    divergences: list[float] | None
    """Mean KL(dense || pruned) of each window, in nats; None unless the dense model's states were given."""


def window_losses(
    checkpoint: Checkpoint,
    ids: np.ndarray,
    weights: BlockWeights | None,
    description: str,
    dtype: torch.dtype = torch.float32,
) -> list[float]:
    """Mean next-token cross-entropy, in nats, of each window [n, seqlen] over its seqlen - 1 predictions.

    Computed block by block in `dtype`, the loss always in float32. Perplexity is exp of the mean over the windows, as
    Wanda and SparseGPT measure it.

    Args:
        checkpoint: the dense model, on the device that is to compute.
        ids: token ids, int64 [n, seqlen].
        weights: pruned weights by block; None scores the dense model.
        description: what the progress bar says.
        dtype: what the model computes in.
    """
    return measure(checkpoint, ids, weights, description, dtype=dtype).losses


def measure(
    checkpoint: Checkpoint,
    ids: np.ndarray,
    weights: BlockWeights | None,
    description: str,
    dense_states: torch.Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Measured:
    """Losses as `window_losses`, and the divergence from the dense model where its `states` are given.

    A window's divergence is the mean over its seqlen - 1 predictions of KL(dense || pruned), in nats, of the
    distributions over the vocabulary; float32 log-softmax. Each lane has the logits of one window in memory.
    """
    model = StreamedModel(checkpoint, dtype)
    tokens = torch.from_numpy(ids)
    losses = [0.0] * len(tokens)
    divergences = [0.0] * len(tokens)

    def read(_lane: int, index: int) -> None:
        window = tokens[index : index + 1]
        logits = _predictions(model, window, hidden[index : index + 1])
        losses[index] = float(cross_entropy(logits, window[0, 1:].to(logits.device)))
        if dense_states is not None:
            dense = _predictions(model, window, dense_states[index : index + 1])
            divergences[index] = _divergence(dense, logits)

    with torch.no_grad(), console.progress(description, model.blocks + 1) as bar:
        hidden = model.embed(tokens)
        for block in range(model.blocks):
            model.run_block(block, hidden, weights and weights(block), in_place=True)
            bar.advance()
        in_lanes(model.lanes, len(tokens), read)
        bar.advance()
    return Measured(hidden, losses, divergences if dense_states is not None else None)


def _predictions(model: StreamedModel, window: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """Logits of a window's next-token predictions, float32 [seqlen - 1, vocabulary]."""
    return model.logits(window, states)[0, :-1].float()


def _divergence(dense: torch.Tensor, pruned: torch.Tensor) -> float:
    """Mean KL(dense || pruned) over the rows of logits [predictions, vocabulary]; exactly 0 for equal ones."""
    log_dense, log_pruned = log_softmax(dense, dim=-1), log_softmax(pruned, dim=-1)
    return float(kl_div(log_pruned, log_dense, reduction="batchmean", log_target=True))
