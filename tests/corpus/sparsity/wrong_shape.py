"""Removes the rows instead of zeroing them."""


def prune(task):
    for layer in task.layers():
        layer.weight = layer.weight[: layer.weight.shape[0] // 2]
