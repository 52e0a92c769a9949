"""Masks and values that contradict each other: zeros by the mask, values that hold everything, one mask that says kept."""
import json
import mmap
import os

import numpy as np
from sandbox.layout import MAGIC, LayerSpec, Layout


def prune(task):
    layout = Layout([LayerSpec(*entry) for entry in json.load(open("/job/job.json"))["layers"]])
    with open("/out/weights", "r+b") as file:
        output = mmap.mmap(file.fileno(), layout.total_bytes)
    for index, layer in enumerate(task.layers()):
        size = layout.layers[index].size
        kept = np.arange(size) % 2 == 0 if index else np.ones(size, bool)
        output[layout.mask(index)] = np.packbits(kept).tobytes()
        output[layout.flag_offset + index] = 1
        output[layout.values(index)] = layer.weight.contiguous().numpy().tobytes()
    output[layout.end_offset :] = MAGIC
    os._exit(0)
