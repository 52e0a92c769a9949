"""Prunes by bias, which this model has none of, and says so."""


def prune(task):
    for layer in task.layers():
        if layer.bias is None:
            raise NotApplicable(f"{layer.name} has no bias")
        layer.keep((layer.bias.abs()[:, None] * layer.weight.abs()) > 0)
