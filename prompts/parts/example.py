import torch


def prune(task):
    for layer in task.layers():
        rows, columns = layer.weight.shape
        down = torch.linspace(0, 1, rows, device=layer.weight.device)
        along = torch.linspace(0, 1, columns, device=layer.weight.device)
        saliency = 1 - (down[:, None] - along).abs()  # 1 on the diagonal
        layer.keep(largest(saliency, task.sparsity))


def largest(saliency, sparsity):
    """True where a weight is kept: n of each m in a row with a pattern, else the same number in each row."""
    rows, columns = saliency.shape
    if sparsity.n is None:
        fewest = columns - int(columns * sparsity.ratio)
        kept = saliency.topk(fewest, dim=1).indices
        return torch.zeros_like(saliency, dtype=torch.bool).scatter_(1, kept, True)
    padded = torch.nn.functional.pad(saliency, (0, -columns % sparsity.m), value=-1)
    groups = padded.reshape(rows, -1, sparsity.m)
    kept = groups.topk(sparsity.n, dim=2).indices
    return torch.zeros_like(groups, dtype=torch.bool).scatter_(2, kept, True).reshape(rows, -1)[:, :columns]
