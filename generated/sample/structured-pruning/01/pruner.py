import torch


def prune(task):
    for layer in task.layers():
        weight = layer.weight
        importance = weight.float().norm(p=2, dim=1)          # one value for each output neuron
        n_rows = int(weight.shape[0] * task.sparsity.ratio)   # rows to remove
        if n_rows == 0:
            continue
        rows = torch.argsort(importance)[:n_rows]
        mask = torch.ones_like(weight, dtype=torch.bool)
        mask[rows, :] = False
        layer.keep(mask)
