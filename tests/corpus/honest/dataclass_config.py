"""Settings in a frozen dataclass, a named tuple and an enumeration."""
from __future__ import annotations

import enum
from collections import namedtuple
from dataclasses import dataclass, field


class Norm(enum.Enum):
    L1 = 1
    L2 = 2


Budget = namedtuple("Budget", "layer zeros")


@dataclass(frozen=True)
class Config:
    norm: Norm = Norm.L2
    skip: frozenset[str] = field(default_factory=frozenset)
    exponent: float = 0.5


def prune(task, config: Config = Config()):
    budgets = [Budget(layer, int(layer.weight.shape[1] * task.sparsity.ratio)) for layer in task.layers()]
    for layer, zeros in budgets:
        saliency = layer.weight.abs() ** config.norm.value
        saliency = saliency / (saliency.sum(0, keepdim=True) ** config.exponent + 1e-8)
        layer.keep(saliency.argsort(1).argsort(1) >= zeros)
