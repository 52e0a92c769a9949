"""One expression, and no statement."""
prune = lambda task: [
    layer.keep(layer.weight.abs().argsort(1).argsort(1) >= int(layer.weight.shape[1] * task.sparsity.ratio))
    for layer in task.layers()
]
