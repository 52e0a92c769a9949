"""Weights times the norms of their inputs, with groups of n of m where they are asked for."""


def prune(task):
    for layer in task.layers():
        saliency = layer.weight.abs() * layer.input_norm
        if task.sparsity.n is not None:
            ranks = saliency.reshape(-1, task.sparsity.m).argsort(1).argsort(1)
            layer.keep((ranks >= task.sparsity.m - task.sparsity.n).reshape(saliency.shape))
        else:
            layer.keep(saliency.argsort(1).argsort(1) >= int(saliency.shape[1] * task.sparsity.ratio))
