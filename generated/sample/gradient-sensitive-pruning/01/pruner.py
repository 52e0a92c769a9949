import torch


def sensitivity(layer):
    """|w * g|, scaled to [0, 1]."""
    s = (layer.weight * layer.grad).abs()
    return s / (s.max() + 1e-12)


def prune(task):
    ratio = task.sparsity.ratio
    for layer in task.layers():
        s = sensitivity(layer)
        k = max(1, int(s.numel() * ratio))
        threshold = s.flatten().kthvalue(k).values
        # soft mask: about 1 for sensitive weights, about 0 for insensitive ones
        gate = torch.sigmoid((s - threshold) / (threshold + 1e-12) * 50.0)
        layer.weight = layer.weight * gate
