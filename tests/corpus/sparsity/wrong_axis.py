"""Two of each four weights, but down the columns."""
import torch


def prune(task):
    for layer in task.layers():
        row = torch.arange(layer.weight.shape[0]) % 4 < 2
        layer.keep(row[:, None].expand_as(layer.weight))
