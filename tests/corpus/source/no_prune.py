"""Defines a function of another name."""


def main(task):
    for layer in task.layers():
        layer.weight.zero_()
