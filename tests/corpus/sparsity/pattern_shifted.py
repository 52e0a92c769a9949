"""Two of each four weights in a row, with groups that begin at the third column."""
import torch


def prune(task):
    for layer in task.layers():
        column = torch.arange(layer.weight.shape[1])
        layer.keep(((column // 4) % 2 == 0).expand_as(layer.weight))
