"""Small functions for every step, and a table that chooses between them."""
import math

import torch


def magnitude(w):
    return w.abs()


def normalised(w):
    return w.abs() / (w.norm(dim=1, keepdim=True) + 1e-12)


def relative(w):
    a = w.abs()
    return a / (a.sum(0, keepdim=True) + 1e-12) + a / (a.sum(1, keepdim=True) + 1e-12)


CHOICES = {0: magnitude, 1: normalised, 2: relative}


def count(shape, ratio):
    return math.floor(shape[1] * ratio)


def by_row(s, ratio):
    kept = torch.ones_like(s, dtype=torch.bool)
    return kept.scatter(1, s.topk(count(s.shape, ratio), dim=1, largest=False).indices, False)


def by_group(s, n, m):
    kept = torch.zeros_like(s.reshape(-1, m), dtype=torch.bool)
    return kept.scatter(1, s.reshape(-1, m).topk(n, dim=1).indices, True).reshape(s.shape)


def mask(s, sparsity):
    return by_group(s, sparsity.n, sparsity.m) if sparsity.n is not None else by_row(s, sparsity.ratio)


def prune(task):
    for layer in task.layers():
        layer.keep(mask(CHOICES[layer.block % len(CHOICES)](layer.weight), task.sparsity))
