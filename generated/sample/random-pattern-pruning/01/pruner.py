import torch

PATTERNS = 8


def draw_patterns(count, length, sparsity, generator):
    """[count, length] boolean patterns, True where a weight is kept."""
    noise = torch.rand(count, length, generator=generator)
    if sparsity.n is not None:
        groups = noise.reshape(count, -1, sparsity.m)
        kept = groups.argsort(dim=-1) < sparsity.n
        return kept.reshape(count, length)
    zeros = int(length * sparsity.ratio)
    return noise.argsort(dim=-1).argsort(dim=-1) >= zeros


def prune(task):
    for layer in task.layers():
        rows, columns = layer.weight.shape
        patterns = draw_patterns(PATTERNS, columns, task.sparsity, task.generator)
        choice = torch.randint(PATTERNS, (rows,), generator=task.generator)
        layer.keep(patterns[choice])
