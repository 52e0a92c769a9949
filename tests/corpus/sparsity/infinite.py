"""Numbers that half precision cannot hold, so that they come back infinite."""
import torch


def prune(task):
    for layer in task.layers():
        kept = layer.weight.abs().argsort(1).argsort(1) >= layer.weight.shape[1] // 2
        layer.weight = (layer.weight * 1e6).to(torch.float16) * kept
