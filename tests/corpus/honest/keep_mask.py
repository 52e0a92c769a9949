"""The shortest one: a mask, and what the interface has for it."""


def prune(task):
    for layer in task.layers():
        w = layer.weight.abs()
        layer.keep(w > w.flatten().kthvalue(int(w.numel() * task.sparsity.ratio)).values)
