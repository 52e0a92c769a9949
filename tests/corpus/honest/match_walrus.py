"""Matches patterns, assigns within expressions, formats, unpacks."""


def kept(saliency, sparsity):
    match (sparsity.n, sparsity.m):
        case (None, None) if (count := int(saliency.shape[1] * sparsity.ratio)) == 0:
            return saliency == saliency
        case (None, _):
            return saliency.argsort(1).argsort(1) >= count
        case (int(n), int(m)):
            return ((ranks := saliency.reshape(-1, m).argsort(1).argsort(1)) >= m - n).reshape(saliency.shape)
        case other:
            raise ValueError(f"{other=!r:>20}")


def prune(task):
    while (layer := next(layers := globals().setdefault("_layers", task.layers()), None)) is not None:
        layer.keep(kept(layer.weight.abs(), task.sparsity))
