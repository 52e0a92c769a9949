import torch


def prune(task):
    """Remove the weights of smallest absolute value, row by row."""
    sparsity = task.sparsity
    for layer in task.layers():
        saliency = layer.weight.abs()
        if sparsity.n is not None:
            rows, columns = saliency.shape
            groups = saliency.reshape(rows, columns // sparsity.m, sparsity.m)
            kept = groups.topk(sparsity.n, dim=-1).indices
            mask = torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, kept, True)
            layer.keep(mask.reshape(rows, columns))
            continue
        pruned_per_row = int(saliency.shape[1] * sparsity.ratio)
        order = saliency.argsort(dim=1)
        mask = torch.ones_like(saliency, dtype=torch.bool)
        mask.scatter_(1, order[:, :pruned_per_row], False)
        layer.keep(mask)
