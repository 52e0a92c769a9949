"""Measures everything, changes nothing."""


def prune(task):
    for layer in task.layers():
        layer.weight = layer.weight.clone()
