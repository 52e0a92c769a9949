"""Canaries: pruners with a known answer, run before and after a batch. When one is off, the batch is not to be ranked.

One zeroes every weight at an even sum of row and column, which the host can do by hand; one fails at a known line. The
first window of the evaluation is scored with the weights that came out and with those made by hand, which must agree
bit for bit, and dense, which must agree with what is remembered of the dense model.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from harness.errors import CanaryFault
from harness.records import Sparsity
from harness.stages.pruned_weights import PrunedWeights
from harness.stages.sandbox_run import Job, SandboxRuns
from harness.stages.score import BlockWeights, window_losses
from harness.status import Status
from sandbox.checkpoint import Checkpoint
from sandbox.layout import block_parameters, masked

_HALF = Sparsity(0.5)
_KNOWN = b"""\
import torch
def prune(task):
    for layer in task.layers():
        rows, columns = (torch.arange(size, device=layer.weight.device) for size in layer.weight.shape)
        layer.keep((rows[:, None] + columns) % 2 == 1)
"""
_FAILING = b"""\
def prune(task):
    next(task.layers()).weight.zero_()
    return 1 / 0  # line 3
"""
_RELATIVE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
"""How far a loss may be from the same one computed among other windows."""


def check(
    runs: SandboxRuns,
    job: Job,
    checkpoint: Checkpoint,
    window: np.ndarray,
    dense_loss: float,
    dtype: torch.dtype,
    *,
    more: bool = False,
) -> None:
    """Run the canaries.

    Args:
        runs: of the sandbox that the batch uses.
        job: of the batch; its pruner and sparsities are replaced.
        checkpoint: the dense model, on the device that computes.
        window: the first of the evaluation, int64 [1, seqlen].
        dense_loss: what is remembered of it, in nats.
        dtype: what the model computes in.
        more: whether another run follows.

    Raises:
        CanaryFault: one is off.
        Fault: the sandbox failed before that could be told.
    """
    with runs.run(replace(job, source=_FAILING, sparsities=[_HALF]), more=True) as run:
        found = (run.status, run.failure and run.failure.type, run.failure and run.failure.line)
        if found != (Status.RUNTIME_ERROR, "ZeroDivisionError", 3):
            raise CanaryFault(f"a pruner that divides by zero in line 3 came back as {found}")
    with runs.run(replace(job, source=_KNOWN, sparsities=[_HALF]), more=more) as run:
        if run.status is not None:
            raise CanaryFault(f"a pruner that must work came back as {run.status}")
        weights = PrunedWeights(run.output, job.target.layers, job.target.checkpoint)
        verdict = weights.check(_HALF, uniform=True)
        if verdict.zeros is None or verdict.zeros.sha256 != _zeros_by_hand(job):
            raise CanaryFault("the zeros that came out are not those that a pruner made")
        scored = [
            window_losses(checkpoint, window, blocks, "scoring a canary", dtype)[0]
            for blocks in (weights.parameters, _by_hand(job), None)
        ]
    if scored[0] != scored[1]:
        raise CanaryFault(f"a mask has loss {scored[0]!r} as it came out, and {scored[1]!r} when applied by hand")
    if not math.isclose(scored[2], dense_loss, rel_tol=_RELATIVE[dtype]):
        raise CanaryFault(f"the dense model's first window has loss {scored[2]!r}, and had {dense_loss!r}")


def _weight(job: Job, index: int) -> torch.Tensor:
    layer = job.target.layers[index]
    rows, columns = (torch.arange(size) for size in layer.shape)
    return masked(job.target.checkpoint.weight(layer), (rows[:, None] + columns) % 2 == 1)


def _by_hand(job: Job) -> BlockWeights:
    def blocks(block: int) -> Mapping[str, torch.Tensor]:
        return block_parameters(job.target.layers, block, lambda index: _weight(job, index))

    return blocks


def _zeros_by_hand(job: Job) -> str:
    digest = hashlib.sha256()
    for index in range(len(job.target.layers)):
        digest.update(np.packbits((_weight(job, index) == 0).numpy().reshape(-1)).tobytes())
    return digest.hexdigest()
