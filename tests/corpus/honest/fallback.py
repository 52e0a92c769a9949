"""Tries what may be missing or singular, and falls back on something that works."""
import contextlib

import torch

try:
    import scipy.linalg as linear
except ImportError:
    linear = torch.linalg


def saliency_of(layer):
    try:
        return layer.weight.abs() * linear.inv(layer.hessian - layer.hessian).diagonal()
    except (RuntimeError, ValueError, AttributeError) as error:
        print("falling back:", error)
    finally:
        with contextlib.suppress(OSError):
            open("/tmp/log", "a").close()
    return layer.weight.abs()


def prune(task):
    for layer in task.layers():
        saliency = saliency_of(layer)
        if not saliency.isfinite().all():
            saliency = layer.weight.abs()
        layer.keep(saliency.argsort(1).argsort(1) >= int(saliency.shape[1] * task.sparsity.ratio))
