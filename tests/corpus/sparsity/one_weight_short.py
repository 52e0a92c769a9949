"""Misses the budget of the last layer by one weight."""


def prune(task):
    layers = list(task.layers())
    for layer in layers:
        kept = layer.weight.abs().argsort(1).argsort(1) >= layer.weight.shape[1] // 2
        if layer is layers[-1]:
            kept.view(-1)[(~kept).view(-1).nonzero()[0]] = True
        layer.keep(kept)
