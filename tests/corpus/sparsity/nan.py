"""Not-a-numbers as the mark of what is pruned."""


def prune(task):
    for layer in task.layers():
        weight = layer.weight.clone()
        weight[weight.abs().argsort(1).argsort(1) < weight.shape[1] // 2] = float("nan")
        layer.weight = weight
