"""Statistics of the dense model, computed once for all pruners of a study and shown to each of them read-only."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from harness import console
from harness.conversion import once
from harness.devices import arithmetic
from harness.resources import cache_folder
from harness.targets import Target
from sandbox.checkpoint import Checkpoint
from sandbox.statistics import KNOWN, dense_blocks
from sandbox.sums import Kind

_MOST_BYTES = 4 << 30
"""What is larger, each run computes itself: reading it would take as long."""
_WORDS: dict[Kind, bytes] = {"norm": b"input_norm", "hessian": b"hessian"}


def known_statistics(
    target: Target, checkpoint: Checkpoint, calibration: np.ndarray, dtype: torch.dtype, source: bytes
) -> dict[str, Path]:
    """Files by name for a pruner that seems to ask for norms or Hessians; whatever is missing it computes in its run.

    Only time depends on this guess from the source, no number.

    Args:
        target: the dense model.
        checkpoint: its weights, on the device that is to compute.
        calibration: token ids, [n, seqlen].
        dtype: what the model computes in.
        source: the pruner's file.
    """
    files = {}
    for kind, word in _WORDS.items():
        sizes = [layer.in_features ** (2 if kind == "hessian" else 1) for layer in target.layers]
        if word in source and 4 * sum(sizes) <= _MOST_BYTES:
            tokens = hashlib.sha256(calibration.tobytes()).hexdigest()
            facts = (target.weights_sha256, calibration.shape, tokens, dtype, kind, *arithmetic(checkpoint.device))
            key = hashlib.sha256(repr(facts).encode()).hexdigest()[:24]
            write = partial(_write, target, checkpoint, calibration, dtype, kind)
            folder = once(cache_folder() / f"statistics-{key}", write)
            files[KNOWN.format(kind=kind)] = folder / KNOWN.format(kind=kind)
    return files


def _write(
    target: Target, checkpoint: Checkpoint, calibration: np.ndarray, dtype: torch.dtype, kind: Kind, into: Path
) -> None:
    blocks = 1 + max(layer.block for layer in target.layers)
    tensors: dict[str, torch.Tensor] = {}
    names: dict[str, str] = {}
    leaders: dict[int, str] = {}
    with console.progress(f"statistics of dense {target.name}, once for all pruners", blocks) as bar:
        for found in dense_blocks(checkpoint, target.layers, torch.from_numpy(calibration), kind, dtype):
            for name, tensor in found.items():  # layers with the same inputs share one tensor
                leader = leaders.setdefault(id(tensor), name)
                tensors.setdefault(leader, tensor)
                names[name] = leader
            bar.advance()
    save_file(tensors, into / KNOWN.format(kind=kind), metadata=names)
