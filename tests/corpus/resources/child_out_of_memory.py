"""A child takes memory until it is killed; the parent waits for it, prunes as asked, and ends well."""
import os

import torch


def prune(task):
    if os.fork() == 0:
        held = []
        try:
            while True:
                held.append(bytearray(b"x") * (16 << 20))
        finally:
            os._exit(1)
    os.wait()
    for layer in task.layers():
        order = layer.weight.abs().argsort(dim=1)
        kept = torch.ones_like(layer.weight, dtype=torch.bool)
        layer.keep(kept.scatter_(1, order[:, : order.shape[1] // 2], False))
