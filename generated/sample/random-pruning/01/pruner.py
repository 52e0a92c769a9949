import torch

def prune(task):
    n, m = task.sparsity.n, task.sparsity.m
    for layer in task.layers():
        rows, columns = layer.weight.shape
        noise = torch.rand(rows, columns, generator=task.generator)
        if n is not None:
            noise = noise.view(rows, columns // m, m)
            drop = noise.argsort(dim=-1)[..., : m - n]
        else:
            drop = noise.argsort(dim=-1)[:, : int(columns * task.sparsity.ratio)]
        mask = torch.ones_like(noise, dtype=torch.bool).scatter(-1, drop, False)
        layer.keep(mask.view(rows, columns))
