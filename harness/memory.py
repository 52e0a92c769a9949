"""Bytes that pruning and scoring take, from a model's shapes; without the pages of mapped files.

Numbers are float32. A run is in one of two phases, and the larger counts. In a pass there are what surrounds the
blocks, the largest block as it is held, the states between blocks, and for each lane (`sandbox.lanes`) a batch and the
sums over it. While a block is pruned there are its weights, its Gram matrices, and what its largest layer takes to be
ranked or solved.
"""

from __future__ import annotations

import math

import torch

from harness.shapes import Shapes

_TORCH_BYTES, _TRANSFORMERS_BYTES = 240 << 20, 130 << 20
PROCESS_BYTES = _TORCH_BYTES + _TRANSFORMERS_BYTES
"""Of a process that has imported them."""
_SOLVER_COPIES = 6
"""Of a Hessian while SparseGPT inverts it: its copy, the factor, the inverse and its parts, and the layer before's."""


def weights_only(shapes: Shapes) -> int:
    """Of a pruner that looks at weights alone."""
    return _TORCH_BYTES + 4 * (shapes.block + shapes.ranked)


def with_norms(shapes: Shapes, calibration: tuple[int, ...], threads: int) -> int:
    """Of one that asks for input norms over `calibration` windows [n, seqlen], with `threads` threads."""
    passing = shapes.passing(calibration, threads) + _states(shapes, calibration)
    return PROCESS_BYTES + 4 * max(passing, _pruning(shapes, calibration))


def with_hessians(shapes: Shapes, calibration: tuple[int, ...], threads: int) -> int:
    """Of one that asks for Hessians."""
    passing = shapes.passing(calibration, threads) + _states(shapes, calibration)
    passing += shapes.lanes(threads) * shapes.grams
    pruning = _pruning(shapes, calibration) + shapes.grams + _SOLVER_COPIES * shapes.largest_gram
    return PROCESS_BYTES + 4 * max(passing, pruning)


def scoring(shapes: Shapes, evaluation: tuple[int, ...], kl: bool, text: bool) -> int:
    """Of the process that scores `evaluation` windows [n, seqlen] with its own number of threads."""
    lanes = shapes.lanes(torch.get_num_threads())
    logits = lanes * evaluation[1] * shapes.vocabulary * (5 if kl else 2)
    dense_states = _states(shapes, evaluation) * kl
    passing = shapes.passing(evaluation, lanes) + logits
    return PROCESS_BYTES + 4 * (dense_states + max(passing, shapes.parameters * text))


def _pruning(shapes: Shapes, calibration: tuple[int, ...]) -> int:
    return shapes.around + 2 * _states(shapes, calibration) + shapes.block + shapes.ranked


def _states(shapes: Shapes, windows: tuple[int, ...]) -> int:
    """What enters a block; with statistics of the dense model, or with experts, what leaves it is there too."""
    return math.prod(windows) * shapes.hidden
