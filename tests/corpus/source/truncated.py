"""Stops in the middle of a line, as an answer does at its limit of tokens."""
import torch


def prune(task):
    for layer in task.layers():
        saliency = layer.weight.abs()
        layer.keep(saliency > saliency.flatten().kthvalue(int(
