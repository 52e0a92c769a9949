"""Score: loss and divergence of a model with pruned weights, from the host's own dense model and the checked bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from harness import console
from sandbox.checkpoint import Checkpoint
from sandbox.streaming import StreamedModel

BlockWeights = Callable[[int], Mapping[str, torch.Tensor]]
"""For the index of a block, pruned weights by full parameter name, as the model stores them."""


@dataclass(frozen=True)
class Measured:
    """What one pass over the windows [n, seqlen] gave."""

    states: torch.Tensor
    """What left the last block, float32 [n, seqlen, hidden_size]."""
    losses: list[float]
    """Mean next-token cross-entropy of each window, in nats."""
    divergences: list[float] | None
    """Mean KL(dense || pruned) of each window, in nats; None unless the dense model's states were given."""


def window_losses(
    checkpoint: Checkpoint, ids: np.ndarray, weights: BlockWeights | None, description: str
) -> list[float]:
    """Mean next-token cross-entropy, in nats, of each window [n, seqlen] over its seqlen - 1 predictions.

    Computed in float32, block by block. Perplexity is exp of the mean over the windows, as Wanda and SparseGPT
    measure it.

    Args:
        checkpoint: the dense model.
        ids: token ids, int64 [n, seqlen].
        weights: pruned weights by block; None scores the dense model.
        description: what the progress bar says.
    """
    return measure(checkpoint, ids, weights, description).losses


def measure(
    checkpoint: Checkpoint,
    ids: np.ndarray,
    weights: BlockWeights | None,
    description: str,
    dense_states: torch.Tensor | None = None,
) -> Measured:
    """Losses as `window_losses`, and the divergence from the dense model where its `states` are given.

    A window's divergence is the mean over its seqlen - 1 predictions of KL(dense || pruned), in nats, of the
    distributions over the vocabulary; float32 log-softmax. The logits of one window at a time are in memory.
    """
    model = StreamedModel(checkpoint)
    tokens = torch.from_numpy(ids)
    losses: list[float] = []
    divergences: list[float] = []
    with torch.no_grad(), console.progress(description, model.blocks + 1) as bar:
        hidden = model.embed(tokens)
        for block in range(model.blocks):
            hidden = torch.cat(list(model.run_block(block, hidden, weights and weights(block))))
            bar.advance()
        for index, window in enumerate(tokens.split(1)):
            logits = _predictions(model, window, hidden[index : index + 1])
            losses.append(float(cross_entropy(logits, window[0, 1:])))
            if dense_states is not None:
                dense = _predictions(model, window, dense_states[index : index + 1])
                divergences.append(_divergence(dense, logits))
        bar.advance()
    return Measured(hidden, losses, divergences if dense_states is not None else None)


def _predictions(model: StreamedModel, window: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """Logits of a window's next-token predictions, float32 [seqlen - 1, vocabulary]."""
    return model.logits(window, states)[0, :-1].float()


def _divergence(dense: torch.Tensor, pruned: torch.Tensor) -> float:
    """Mean KL(dense || pruned) over the rows of logits [predictions, vocabulary]; exactly 0 for equal ones."""
    log_dense, log_pruned = log_softmax(dense, dim=-1), log_softmax(pruned, dim=-1)
    return float(kl_div(log_pruned, log_dense, reduction="batchmean", log_target=True))
