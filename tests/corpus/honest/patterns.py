"""Tries all the ways of keeping n of m in each group, and takes the best one."""
import itertools

import torch


def prune(task):
    n, m = task.sparsity.n, task.sparsity.m
    if n is None:
        n, m = round(4 * (1 - task.sparsity.ratio)), 4
    ways = torch.zeros(len(list(itertools.combinations(range(m), n))), m)
    for number, chosen in enumerate(itertools.combinations(range(m), n)):
        ways[number, list(chosen)] = 1
    for layer in task.layers():
        groups = layer.weight.abs().reshape(-1, m)
        best = (groups @ ways.T).argmax(1)
        layer.keep(ways[best].bool().reshape(layer.weight.shape))
