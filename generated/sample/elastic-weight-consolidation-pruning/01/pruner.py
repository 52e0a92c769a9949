from dataclasses import dataclass

import torch


@dataclass
class EWCConfig:
    """Settings of the pruner."""

    damping: float = 1e-8


class EWCPruner:
    """Prunes the weights that matter least by their Fisher information."""

    def __init__(self, config: EWCConfig | None = None):
        self.config = config or EWCConfig()

    def importance(self, layer) -> torch.Tensor:
        return 0.5 * (layer.fisher + self.config.damping) * layer.weight.pow(2)

    def prune(self, task) -> None:
        for layer in task.layers():
            importance = self.importance(layer)
            k = int(importance.shape[1] * task.sparsity.ratio)
            drop = importance.argsort(dim=1)[:, :k]
            mask = torch.ones_like(importance, dtype=torch.bool)
            mask.scatter_(1, drop, False)
            layer.keep(mask)
