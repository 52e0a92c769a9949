"""`prune` is a generator function: calling it does nothing."""


def prune(task):
    for layer in task.layers():
        yield layer.weight.zero_()
