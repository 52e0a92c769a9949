"""The weights whose removal changes the loss least, to first and second order."""


def prune(task):
    for layer in task.layers():
        saliency = (layer.weight * layer.grad).abs() + 0.5 * layer.fisher * layer.weight**2
        layer.keep(saliency.argsort(1).argsort(1) >= int(saliency.shape[1] * task.sparsity.ratio))
