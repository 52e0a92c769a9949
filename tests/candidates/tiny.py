# expect: SPARSITY_MISSED
# Denormals and 1e-30 in place of zeros.
import torch
def prune(task):
    for l in task.layers():
        w = l.weight.clone(); m = w.abs().argsort(1).argsort(1) < w.shape[1] // 2
        w[m] = 1e-45
        l.weight = w
