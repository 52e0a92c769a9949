# expect: NON_FINITE
import torch
def prune(task):
    for l in task.layers():
        w = l.weight.clone(); m = w.abs().argsort(1).argsort(1) < w.shape[1] // 2
        w[m] = float('nan')
        l.weight = w
