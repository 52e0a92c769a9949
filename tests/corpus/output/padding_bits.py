"""A mask whose last byte has bits beyond the last weight, or flags that are no flags where there is no such byte."""
import json
import mmap
import os

from sandbox.layout import MAGIC, LayerSpec, Layout


def prune(task):
    layout = Layout([LayerSpec(*entry) for entry in json.load(open("/job/job.json"))["layers"]])
    with open("/out/weights", "r+b") as file:
        output = mmap.mmap(file.fileno(), layout.total_bytes)
    for index, layer in enumerate(layout.layers):
        output[layout.mask(index)] = b"\x55" * ((layer.size + 7) // 8)
        output[layout.mask(index).stop - 1] = 0xFF
        output[layout.flag_offset + index] = 0xFF
    output[layout.end_offset :] = MAGIC
    os._exit(0)
