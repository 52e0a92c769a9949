# expect: SPARSITY_MISSED
# Mask bits say zero for half, the flag says changed, values hold everything; then one layer's mask says kept.
import os, sys, torch, numpy as np
from sandbox.layout import MAGIC
def prune(task):
    lay = task._weights._output._layout; m = task._weights._output._map
    for i, l in enumerate(task.layers()):
        n = lay.layers[i].size
        m[lay.mask(i)] = np.packbits(np.arange(n) % 2 == 0).tobytes() if i else np.packbits(np.ones(n, bool)).tobytes()
        m[lay.flag_offset + i] = 1
        m[lay.values(i)] = l.weight.contiguous().numpy().tobytes()
    m[lay.end_offset:] = MAGIC
    os._exit(0)
