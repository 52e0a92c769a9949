"""Magnitude in numpy, row by row, with a partition."""
import numpy as np
import torch


def prune(task):
    for layer in task.layers():
        saliency = np.abs(layer.weight.numpy())
        if task.sparsity.n is not None:
            groups = saliency.reshape(saliency.shape[0], -1, task.sparsity.m)
            cut = np.sort(groups, axis=2)[:, :, -task.sparsity.n, None]
            kept = (groups >= cut).reshape(saliency.shape)
        else:
            count = int(saliency.shape[1] * task.sparsity.ratio)
            kept = np.ones(saliency.shape, bool)
            np.put_along_axis(kept, np.argpartition(saliency, count, axis=1)[:, :count], False, axis=1)
        layer.keep(torch.from_numpy(kept))
