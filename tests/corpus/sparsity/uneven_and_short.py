"""Says that its budget is uneven, which is no leave to miss it."""
UNIFORM = False


def prune(task):
    for number, layer in enumerate(task.layers()):
        if number:
            layer.keep(layer.weight.abs().argsort(1).argsort(1) >= layer.weight.shape[1] // 2)
