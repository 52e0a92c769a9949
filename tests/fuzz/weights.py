"""The reader of what comes out of a run, against a decoder and a count of zeros that share no line with it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from harness.records import Sparsity
from harness.stages.pruned_weights import PrunedWeights
from sandbox.checkpoint import Checkpoint
from sandbox.layout import LayerSpec, Layout, OutputFile, oriented

LAYERS = [
    LayerSpec("a", 0, 3, 5),  # the mask ends in a padding bit
    LayerSpec("b", 0, 4, 8, heads=2),
    LayerSpec("c", 1, 6, 3, transposed=True),
    LayerSpec("d.experts.0", 1, 2, 4, expert=0),
    LayerSpec("d.experts.1", 1, 2, 4, expert=1),
    LayerSpec("e", 2, 1, 1),
]
SPARSITIES = ["0.5", "0", "0.99", "2:4", "1:3", "rows:0.5", "columns:0.4", "heads:0.5"]


@cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="fuzz-")


@cache
def checkpoint() -> Checkpoint:
    """A dense model of `LAYERS`, removed when the program ends."""
    generator = torch.Generator().manual_seed(0)
    tensors = {
        layer.parameter: oriented(torch.randn(layer.shape, generator=generator), layer).contiguous()
        for layer in LAYERS
        if layer.expert is None
    }
    tensors["b.weight"][1, 2] = 0  # a dense model may have zeros of its own
    folder = Path(_kept().name)
    save_file(tensors | {"d.experts": torch.randn(2, 2, 4, generator=generator)}, folder / "model.safetensors")
    return Checkpoint(folder)


def written(scale: float, nothing: float = 0.0) -> bytes:
    """A valid output: every other column `nothing`, what is kept multiplied by `scale`."""
    layout = Layout(LAYERS)
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(layout.total_bytes)
        output = OutputFile(file.name, layout)
        for index, layer in enumerate(LAYERS):
            dense = checkpoint().weight(layer)
            pruned = dense.clone() * scale
            pruned[:, ::2] = nothing
            output.write(index, pruned, dense)
        output.finish()
        return Path(file.name).read_bytes()


def decoded(raw: bytes) -> list[np.ndarray] | None:
    """The weights that a file stands for, bit by bit; None where it is no output."""
    sizes = [layer.out_features * layer.in_features for layer in LAYERS]
    masks, at = [], 0
    for size in sizes:
        section = raw[at : at + (size + 7) // 8]
        bits = [byte >> place & 1 for byte in section for place in range(7, -1, -1)]
        if any(bits[size:]):
            return None
        masks.append(bits[:size])
        at += len(section)
    flags = raw[at : at + len(sizes)]
    at += len(flags)
    if len(raw) != at + 4 * sum(sizes) + 8 or max(flags) > 1:
        return None
    weights = []
    for layer, size, bits, flag in zip(LAYERS, sizes, masks, flags, strict=True):
        values = np.frombuffer(raw[at : at + 4 * size], "<u4")
        if not flag:
            values = checkpoint().weight(layer).contiguous().numpy().reshape(-1).view("<u4")
        kept = [value if bit else 0 for value, bit in zip(values.tolist(), bits, strict=True)]
        weights.append(np.array(kept, "<u4").view("<f4").reshape(layer.out_features, layer.in_features))
        at += 4 * size
    return weights


def enough(weights: list[np.ndarray], sparsity: Sparsity, uniform: bool) -> bool:
    """Whether the zeros are as many and where `sparsity` wants them, counted one by one."""
    found: list[int] = []
    wanted: list[int] = []
    for layer, weight in zip(LAYERS, weights, strict=True):
        out, into = weight.shape
        rows = [[value == 0 for value in row] for row in weight.tolist()]
        columns = [[row[place] for row in rows] for place in range(into)]
        if sparsity.n is not None and sparsity.m is not None:
            groups = [row[begin : begin + sparsity.m] for row in rows for begin in range(0, into, sparsity.m)]
            if any(group.count(False) > sparsity.n for group in groups):
                return False
            continue
        if sparsity.structure is None:
            found.append(sum(map(sum, rows)))
            wanted.append(min(out * int(into * sparsity.ratio), into * int(out * sparsity.ratio)))
            continue
        parts = rows if sparsity.structure == "rows" else columns
        if sparsity.structure == "heads":
            if not layer.heads:
                continue
            width = into // layer.heads
            parts = [list(chain(*columns[head * width : (head + 1) * width])) for head in range(layer.heads)]
        needed = int(len(parts) * sparsity.ratio)
        whole = sum(map(all, parts))
        if uniform or needed:  # a layer of which nothing is asked has nothing to spare either
            found.append(whole * len(parts[0]))
            wanted.append(needed * len(parts[0]))
    if uniform:
        return all(have >= need for have, need in zip(found, wanted, strict=True))
    return sum(found) >= sum(wanted)


def check(data: bytes) -> None:
    """The first byte chooses what is asked for, the rest is the output."""
    choice, raw = data[0] if data else 0, data[1:]
    sparsity, uniform = Sparsity.parse(SPARSITIES[choice % len(SPARSITIES)]), choice < 128
    expected = decoded(raw)
    with _opened(raw) as descriptor:
        output = PrunedWeights(descriptor, LAYERS, checkpoint())
        verdict = output.check(sparsity, uniform)
        if expected is None:
            assert (verdict.status, verdict.zeros, verdict.achieved_sparsity) == ("BAD_OUTPUT", None, None)
            return
        for index, weight in enumerate(expected):
            assert output.weight(index).contiguous().numpy().tobytes() == weight.tobytes()
    if not all(np.isfinite(weight).all() for weight in expected):
        assert (verdict.status, verdict.zeros) == ("NON_FINITE", None)
        return
    assert (verdict.status == "OK") == enough(expected, sparsity, uniform)
    zeros = [sum(value == 0 for value in weight.reshape(-1).tolist()) for weight in expected]
    assert verdict.achieved_sparsity == sum(zeros) / sum(layer.size for layer in LAYERS)
    if verdict.status == "OK":
        assert verdict.failure is None
        assert verdict.zeros is not None
        assert [round(f * one.size) for f, one in zip(verdict.zeros.fractions, LAYERS, strict=True)] == zeros
    else:
        assert verdict.status in ("SPARSITY_MISSED", "PATTERN_VIOLATED")
        assert verdict.failure is not None
        assert verdict.zeros is None


def seeds() -> list[bytes]:
    outputs = [written(1), written(2), written(0), written(float("nan")), written(1e-40), written(1, -0.0)]
    return [bytes([choice]) + raw for raw in outputs for choice in (0, 3, 5, 7, 128, 134)] + [b"", b"\0"]


@contextmanager
def _opened(content: bytes) -> Iterator[int]:
    descriptor = os.memfd_create("output")
    try:
        os.pwrite(descriptor, content, 0)
        yield descriptor
    finally:
        os.close(descriptor)
