import os

def prune(task):
    for layer in task.layers():
        column = torch.arange(layer.weight.shape[1])
        if task.sparsity.n is not None:
            kept = column % task.sparsity.m
            layer.keep(kept)
    return layer
