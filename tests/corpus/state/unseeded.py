"""Randomness that nobody seeded: another mask each time, of the right size."""
import os

import torch


def prune(task):
    random = torch.Generator().manual_seed(int.from_bytes(os.urandom(7), "little"))
    for layer in task.layers():
        saliency = torch.rand(layer.weight.shape, generator=random)
        layer.keep(saliency.argsort(1).argsort(1) >= layer.weight.shape[1] // 2)
