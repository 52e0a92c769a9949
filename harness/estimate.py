"""What a target will take of memory, disk and time, from its shapes alone; and no start of what cannot fit."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from harness import console
from harness.errors import InputFault, UsageError
from harness.records import Limits
from harness.resources import check_room
from harness.shapes import Shapes
from harness.targets import Target
from sandbox.layout import LayerSpec, Layout
from sandbox.streaming import BATCH_TOKENS

_GIB = 1 << 30
_TORCH_BYTES, _TRANSFORMERS_BYTES = 240 << 20, 130 << 20
_TORCH_SECONDS, _TRANSFORMERS_SECONDS = 2.0, 4.0
"""Of a process that has imported them."""
_SOLVER_COPIES = 4
"""Of a Hessian while SparseGPT inverts it: its own copy, two factors and the inverse."""
_SOLVER_PRODUCTS = 32
"""Products [out, in] x [in, in] of `movement`, the slowest reference pruner with a Hessian."""
_PASSES = 1.75
"""Through the blocks for statistics: one to the next block, and one that ends at the last layer's input."""
_BESIDE_PRODUCTS = 1.5
"""Time of a pass over that of its linear layers."""
_MEASURED_SECONDS = 0.1
_RANKING_SECONDS, _READ_SECONDS = 4e-8, 1e-9
"""For a weight, and for a byte on disk."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one run."""

    memory_bytes: int
    """Without the pages of mapped files, which the kernel can drop."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of one pruner on one target: pruning from weights alone, from input norms, from Hessians; scoring; disk."""

    target: str
    weights: Cost
    norms: Cost
    hessians: Cost
    scoring: Cost
    disk_bytes: int

    def line(self, limits: Limits) -> str:
        """For people, with a warning where the sandbox's memory is not enough for every kind of pruner."""
        kinds = {"weights only": self.weights, "input norms": self.norms, "Hessians": self.hessians}
        text = (
            f"{console.plain(self.target, 100)}: pruning about {_said(self.weights)} (weights only) to"
            f" {_said(self.hessians)} (Hessians) a pruner, scoring about {_said(self.scoring)},"
            f" {_gib(self.disk_bytes)} of disk"
        )
        short = [kind for kind, cost in kinds.items() if cost.memory_bytes > limits.memory_bytes]
        if short:
            most = max(cost.memory_bytes for cost in kinds.values())
            text += (
                f"; the memory limit of {_gib(limits.memory_bytes)} may be too low for {' and '.join(short)}:"
                f" raise it to {_option(most)}"
            )
        return text

    def check(self, limits: Limits) -> None:
        """See that a run can fit.

        Raises:
            UsageError: the sandbox's memory is not enough for any pruner.
            InputFault: nor is the machine's, or not to score.
            StorageFault: the cache folder has no room for a run.
        """
        least = self.weights.memory_bytes
        if limits.memory_bytes < least:
            raise UsageError(
                f"a memory limit of {_gib(limits.memory_bytes)} is not enough to prune {self.target}: give"
                f" {_option(least)} for pruners of weights alone, {_option(self.hessians.memory_bytes)} for all kinds"
            )
        available = available_memory()
        process = _TORCH_BYTES + _TRANSFORMERS_BYTES  # this process has them already
        for what, needed in (("prune", least), ("score", self.scoring.memory_bytes - process)):
            if available is not None and available < needed:
                raise InputFault(
                    f"to {what} {self.target} takes about {_gib(needed)} of memory, and {_gib(available)} are free:"
                    " stop other programs, take fewer or shorter windows, or a machine with more memory"
                )
        check_room(self.disk_bytes, f"a run on {self.target}")


def estimated(
    target: Target,
    calibration: tuple[int, ...],
    evaluation: tuple[int, ...],
    threads: int,
    *,
    kl: bool = False,
    text: bool = False,
    rounds: int = 1,
) -> Estimate:
    """The estimate for a target; no weight is read.

    Memory is that of float32 numbers: what surrounds the blocks, the largest block as it is held, hidden states,
    and for each lane (`sandbox.lanes`) a batch and the sums over it. Time counts the operations of the linear
    layers, as if every token went to every expert, at the rate that a matrix product reaches now (0.1 s of measuring).

    Args:
        target: the model.
        calibration: number and length of the windows that a pruner gets.
        evaluation: of those that are scored.
        threads: of the sandbox.
        kl, text, rounds: as in `harness.pipeline.open_bench`; `text` whether there is one.
    """
    shapes = Shapes.of(target)
    process = _TORCH_BYTES + _TRANSFORMERS_BYTES
    weights = _TORCH_BYTES + 4 * (shapes.block + shapes.ranked)
    norms = process + 4 * (shapes.block + shapes.ranked + shapes.passing(calibration, threads))
    hessians = norms + 4 * (shapes.lanes(threads) * shapes.grams + _SOLVER_COPIES * shapes.largest_gram)
    lanes = shapes.lanes(torch.get_num_threads())
    logits = lanes * evaluation[1] * shapes.vocabulary * (5 if kl else 2)
    dense_states = math.prod(evaluation) * shapes.hidden * kl
    scoring = shapes.passing(evaluation, lanes) + logits + dense_states
    scoring = process + 4 * max(scoring, dense_states + shapes.parameters * text)

    rate = _operations_a_second(max(target.layers, key=lambda layer: layer.size))
    sizes = [file.stat().st_size for file in target.model_files]
    copied = [file.stat().st_size for file in target.model_files if not file.stat().st_mode & 0o004]
    read = _READ_SECONDS * sum(sizes)
    prunable = sum(layer.size for layer in target.layers)
    linear = _BESIDE_PRODUCTS * 2 * prunable / rate
    passes = _PASSES * linear * math.prod(calibration)
    products = 2 * _SOLVER_PRODUCTS * sum(layer.size * layer.in_features for layer in target.layers)
    solving = (shapes.all_grams * math.prod(calibration) + products) / rate
    head = 2 * shapes.vocabulary * shapes.hidden * (1 + kl) / rate
    ranking = read + _RANKING_SECONDS * prunable
    started = _TORCH_SECONDS + _TRANSFORMERS_SECONDS
    return Estimate(
        target.name,
        Cost(weights, _TORCH_SECONDS + rounds * ranking),
        Cost(norms, started + rounds * (ranking + passes)),
        Cost(hessians, started + rounds * (ranking + passes + solving)),
        Cost(scoring, read + (linear + head) * math.prod(evaluation)),
        Layout(target.layers).total_bytes + 8 * math.prod(calibration) + sum(copied),
    )


def _operations_a_second(layer: LayerSpec) -> float:
    """What a product of a batch with a layer's weight, cut to 2048 x 2048, reaches here and now."""
    inputs = torch.ones(BATCH_TOKENS, min(layer.in_features, 2048))
    weight = torch.ones(inputs.shape[1], min(layer.out_features, 2048))
    inputs @ weight  # the first one starts the threads
    started, done = time.monotonic(), 0
    while time.monotonic() - started < _MEASURED_SECONDS:
        inputs @ weight
        done += 1
    return done * 2 * BATCH_TOKENS * weight.numel() / (time.monotonic() - started)


def available_memory() -> int | None:
    """Bytes that programs can still take of the machine's memory; None where /proc/meminfo does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")]
    return found[0] if found else None


def _said(cost: Cost) -> str:
    seconds = cost.seconds
    unit, factor = ("h", 3600) if seconds >= 7200 else ("min", 60) if seconds >= 120 else ("s", 1)
    return f"{seconds / factor:.0f} {unit} and {_gib(cost.memory_bytes)}"


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB" if size >= _GIB else f"{max(size / _GIB, 0.01):.2g} GiB"


def _option(size: int) -> str:
    """A size as `--memory` and a study's `memory` take it, rounded up."""
    return f"{math.ceil(size / (1 << 20))}M"
