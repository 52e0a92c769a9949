"""A quantile as the threshold, and ties broken towards more zeros."""
import torch


def prune(task):
    for layer in task.layers():
        saliency = layer.weight.abs()
        cut = torch.quantile(saliency, task.sparsity.ratio, dim=1, keepdim=True, interpolation="higher")
        layer.keep(saliency > cut if task.sparsity.ratio else torch.ones_like(saliency, dtype=torch.bool))
