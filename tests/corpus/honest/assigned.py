"""A new tensor in double precision, assigned once all layers were seen."""
import torch


def prune(task):
    new = {}
    layers = list(task.layers())
    for layer in layers:
        double = layer.weight.double()
        rank = double.abs().argsort(dim=1).argsort(dim=1)
        new[layer.name] = torch.where(rank < int(double.shape[1] * task.sparsity.ratio), 0.0, double)
    for layer in layers:
        layer.weight = new[layer.name]
