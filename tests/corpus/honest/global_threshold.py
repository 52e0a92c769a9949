"""One threshold for the whole model, and a constant that says that its budget is uneven."""
import torch

UNIFORM = False


def prune(task):
    layers = list(task.layers())
    saliency = torch.cat([layer.weight.abs().flatten() for layer in layers])
    cut = saliency.kthvalue(int(saliency.numel() * task.sparsity.ratio)).values
    for layer in layers:
        layer.keep(layer.weight.abs() > cut)
