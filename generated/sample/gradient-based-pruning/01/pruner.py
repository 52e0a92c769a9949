import torch


def taylor_saliency(layer):
    """First-order change of the loss, weighted by the activations."""
    activation = layer.inputs.abs().mean(dim=0).unsqueeze(1)
    return (layer.weight * layer.grad).abs() * activation


def prune(task):
    for layer in task.layers():
        saliency = taylor_saliency(layer)
        columns = saliency.shape[1]
        drop = saliency.argsort(dim=1)[:, : int(columns * task.sparsity.ratio)]
        mask = torch.ones_like(saliency, dtype=torch.bool)
        mask.scatter_(1, drop, False)
        layer.keep(mask)
