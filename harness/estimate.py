"""What a target will take of memory, disk and time, from its shapes alone; and no start of what cannot fit."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from harness import console
from harness.errors import InputFault, UsageError
from harness.memory import PROCESS_BYTES, scoring, weights_only, with_hessians, with_norms
from harness.records import Limits
from harness.resources import check_room
from harness.shapes import Shapes
from harness.targets import Target
from sandbox.layout import LayerSpec, Layout
from sandbox.streaming import BATCH_TOKENS

_GIB = 1 << 30
_TORCH_SECONDS, _TRANSFORMERS_SECONDS = 2.0, 4.0
"""Of a process that imports them."""
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

    def check(self, limits: Limits, taken_bytes: int = 0) -> None:
        """See that a run can fit, which has `taken_bytes` of its disk already.

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
        here = self.scoring.memory_bytes - PROCESS_BYTES  # this process has its libraries already
        for what, needed in (("prune", least), ("score", here)):
            if available is not None and available < needed:
                raise InputFault(
                    f"to {what} {self.target} takes about {_gib(needed)} of memory, and {_gib(available)} are free:"
                    " stop other programs, take fewer or shorter windows, or a machine with more memory"
                )
        check_room(self.disk_bytes - taken_bytes, f"a run on {self.target}")


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

    Time counts the operations of the linear layers, as if every token went to every expert, at the rate that a matrix
    product reaches now (0.1 s of measuring).

    Args:
        target: the model.
        calibration: number and length of the windows that a pruner gets.
        evaluation: of those that are scored.
        threads: of the sandbox.
        kl, text, rounds: as in `harness.pipeline.open_bench`; `text` whether there is one.
    """
    shapes = Shapes.of(target)
    rate = _operations_a_second(max(target.layers, key=lambda layer: layer.size))
    sizes = [file.stat().st_size for file in target.model_files]
    copied = [file.stat().st_size for file in target.model_files if not file.stat().st_mode & 0o004]
    read = _READ_SECONDS * sum(sizes)
    prunable = sum(layer.size for layer in target.layers)
    linear = _BESIDE_PRODUCTS * 2 * prunable / rate
    passes = _PASSES * linear * math.prod(calibration)
    products = 2 * _SOLVER_PRODUCTS * sum(layer.size * layer.in_features for layer in target.layers)
    solved = (shapes.all_grams * math.prod(calibration) + products) / rate
    head = 2 * shapes.vocabulary * shapes.hidden * (1 + kl) / rate
    ranking = read + _RANKING_SECONDS * prunable
    started = _TORCH_SECONDS + _TRANSFORMERS_SECONDS
    return Estimate(
        target.name,
        Cost(weights_only(shapes), _TORCH_SECONDS + rounds * ranking),
        Cost(with_norms(shapes, calibration, threads), started + rounds * (ranking + passes)),
        Cost(with_hessians(shapes, calibration, threads), started + rounds * (ranking + passes + solved)),
        Cost(scoring(shapes, evaluation, kl, text), read + (linear + head) * math.prod(evaluation)),
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
