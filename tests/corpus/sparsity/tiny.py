"""The least numbers that there are, in place of zeros."""


def prune(task):
    for layer in task.layers():
        weight = layer.weight.clone()
        weight[weight.abs().argsort(1).argsort(1) < weight.shape[1] // 2] = 1e-45
        layer.weight = weight
