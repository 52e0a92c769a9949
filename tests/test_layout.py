from __future__ import annotations

from pathlib import Path

import torch

from sandbox.layout import MAGIC, LayerSpec, Layout, OutputFile

LAYERS = [LayerSpec("a", 0, 3, 5), LayerSpec("b", 0, 2, 8), LayerSpec("c", 1, 1, 1)]


def made(path: Path) -> OutputFile:
    layout = Layout(LAYERS)
    path.write_bytes(bytes(layout.total_bytes))
    return OutputFile(str(path), layout)


def test_offsets_follow_from_the_shapes() -> None:
    layout = Layout(LAYERS)
    assert [layout.mask(i) for i in range(3)] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert layout.flag_offset == 5
    assert [layout.values(i) for i in range(3)] == [slice(8, 68), slice(68, 132), slice(132, 136)]
    assert layout.total_bytes == 136 + len(MAGIC)


def test_a_masked_weight_needs_no_values(tmp_path: Path) -> None:
    output = made(tmp_path / "out")
    dense = torch.arange(1.0, 16).reshape(3, 5)
    pruned = dense.clone()
    pruned[1, 2] = 0
    output.write(0, pruned, dense)
    assert torch.equal(output.read(0, dense), pruned)
    output.finish()
    raw = (tmp_path / "out").read_bytes()
    assert raw[:2] == bytes([0b11111110, 0b11111110])  # weight 7 is gone; the last bit is padding
    assert raw[5:8] == b"\0\0\0"
    assert raw.endswith(MAGIC)


def test_changed_values_survive_exactly(tmp_path: Path) -> None:
    output = made(tmp_path / "out")
    dense = torch.ones(2, 8)
    changed = torch.randn(2, 8)
    changed[0, 0] = torch.nan
    output.write(1, changed, dense)
    assert torch.equal(output.read(1, dense).view(torch.int32), changed.view(torch.int32))


def test_what_was_not_written_is_dense(tmp_path: Path) -> None:
    dense = torch.randn(1, 1)
    assert made(tmp_path / "out").read(2, dense) is dense
