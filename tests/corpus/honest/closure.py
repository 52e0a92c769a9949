"""A function that makes the function, with a counter in its closure."""


def make(scale):
    seen = 0

    def inner(task):
        nonlocal seen
        for layer in task.layers():
            seen += 1
            w = layer.weight * scale
            layer.keep(w.abs() > w.abs().flatten().kthvalue(int(w.numel() * task.sparsity.ratio)).values)

    return inner


prune = make(3.0)
