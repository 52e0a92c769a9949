"""Makes the layers of one shape share one tensor, so that one of them is pruned and all are."""


def prune(task):
    shared = {}
    for layer in task.layers():
        if tuple(layer.weight.shape) not in shared:
            shared[tuple(layer.weight.shape)] = layer.weight
        else:
            layer.weight = shared[tuple(layer.weight.shape)]
    for tensor in shared.values():
        tensor[tensor.abs().argsort(1).argsort(1) < tensor.shape[1] // 2] = 0
