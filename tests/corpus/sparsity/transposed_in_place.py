"""Turns the tensor around in its own memory."""


def prune(task):
    for layer in task.layers():
        layer.weight.zero_()
        layer.weight.t_()
