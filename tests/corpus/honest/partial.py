"""A function of three arguments with two of them filled in."""
from functools import partial


def _prune(power, axis, task):
    for layer in task.layers():
        saliency = layer.weight.abs().pow(power)
        layer.keep(saliency.argsort(axis).argsort(axis) >= int(saliency.shape[axis] * task.sparsity.ratio))


prune = partial(_prune, 2, 1)
