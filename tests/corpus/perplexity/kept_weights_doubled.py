"""Prunes as asked, and doubles what is left, which is allowed and measured as it is."""


def prune(task):
    for layer in task.layers():
        weight = layer.weight
        kept = weight.abs().argsort(1).argsort(1) >= weight.shape[1] // 2
        layer.weight = weight * kept * 2
