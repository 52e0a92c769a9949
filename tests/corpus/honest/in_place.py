"""Zeros written into the tensor itself, and into the numpy array that shares its memory."""
import torch


def prune(task):
    for number, layer in enumerate(task.layers()):
        count = int(layer.weight.numel() * task.sparsity.ratio)
        least = layer.weight.abs().flatten().argsort()[:count]
        if number % 2:
            layer.weight.numpy().reshape(-1)[least.numpy()] = 0.0
        else:
            with torch.no_grad():
                layer.weight.view(-1)[least] = 0
