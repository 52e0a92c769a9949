"""Works in half precision, and hands masks of numbers back."""
import torch


def prune(task):
    for layer in task.layers():
        half = layer.weight.to(torch.bfloat16).abs()
        kept = torch.ones_like(half)
        drop = half.float().topk(int(half.shape[1] * task.sparsity.ratio), dim=1, largest=False).indices
        layer.keep(kept.scatter_(1, drop, 0))
