"""Weights with an imaginary part."""
import torch


def prune(task):
    for layer in task.layers():
        layer.weight = torch.complex(torch.zeros_like(layer.weight), layer.weight)
