"""Generators that feed generators."""


def saliencies(task):
    for layer in task.layers():
        yield layer, layer.weight.abs()


def masks(pairs, ratio):
    for layer, saliency in pairs:
        mask = yield from one(saliency, ratio)
        yield layer, mask


def one(saliency, ratio):
    return saliency.argsort(1).argsort(1) >= int(saliency.shape[1] * ratio)
    yield


def prune(task):
    for layer, mask in masks(saliencies(task), task.sparsity.ratio):
        layer.keep(mask)
