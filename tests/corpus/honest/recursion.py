"""Halves an interval until the threshold fits, by calling itself."""


def threshold(saliency, wanted, low, high, depth=0):
    middle = (low + high) / 2
    found = int((saliency <= middle).sum())
    if found >= wanted and (depth > 60 or found == wanted):
        return middle
    if depth > 60:
        return high
    return threshold(saliency, wanted, *((low, middle) if found > wanted else (middle, high)), depth + 1)


def prune(task):
    for layer in task.layers():
        saliency = layer.weight.abs().double()
        wanted = int(saliency.numel() * task.sparsity.ratio)
        layer.keep(saliency > threshold(saliency, wanted, 0.0, float(saliency.max())))
