"""A list in the place of the weights."""


def prune(task):
    for layer in task.layers():
        layer.weight = layer.weight.tolist()
