"""Leaves out one layer of the middle, and makes up for it in the others."""


def prune(task):
    layers = list(task.layers())
    for number, layer in enumerate(layers):
        if number != len(layers) // 2:
            layer.keep(layer.weight.abs().argsort(1).argsort(1) >= layer.weight.shape[1] * 3 // 4)
