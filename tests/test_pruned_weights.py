"""The check of the bytes that came out: what is too little, too much, in the wrong place, or no output at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.overlap import sample_counts, sample_places
from harness.records import Sparsity
from harness.stages.pruned_weights import PrunedWeights, Verdict
from sandbox.checkpoint import Checkpoint
from sandbox.layout import LayerSpec, Layout, OutputFile
from sandbox.structure import layer_specs

Edit = Callable[[int, torch.Tensor], torch.Tensor]


class Written:
    """An output file that a test writes as a worker would, and then spoils."""

    def __init__(self, folder: Path, path: Path) -> None:
        self.checkpoint = Checkpoint(folder)
        self.layers: list[LayerSpec] = layer_specs(self.checkpoint)
        self.layout = Layout(self.layers)
        self.path = path
        self.path.write_bytes(bytes(self.layout.total_bytes))
        self.descriptor = os.open(path, os.O_RDWR)

    def dense(self, index: int) -> torch.Tensor:
        return self.checkpoint.tensor(f"{self.layers[index].name}.weight")

    def write(self, edit: Edit) -> None:
        output = OutputFile(str(self.path), self.layout)
        for index in range(len(self.layers)):
            output.write(index, edit(index, self.dense(index).clone()), self.dense(index))
        output.finish()

    def check(self, sparsity: str = "0.5", uniform: bool = True) -> Verdict:
        return PrunedWeights(self.descriptor, self.layers, self.checkpoint).check(Sparsity.parse(sparsity), uniform)


@pytest.fixture
def written(llama: Path, tmp_path: Path) -> Iterator[Written]:
    result = Written(llama, tmp_path / "out")
    yield result
    os.close(result.descriptor)


def half(_index: int, weight: torch.Tensor) -> torch.Tensor:
    weight[:, ::2] = 0
    return weight


def test_exactly_the_budget_is_enough(written: Written) -> None:
    written.write(half)
    verdict = written.check()
    assert (verdict.status, verdict.achieved_sparsity, verdict.weights_changed) == ("OK", 0.5, False)


def test_the_zeros_are_filed_by_layer_in_a_sample_and_as_a_digest(written: Written) -> None:
    def uneven(index: int, weight: torch.Tensor) -> torch.Tensor:
        weight[:, ::2] = 0
        weight[:index] = 0
        return weight

    written.write(uneven)
    zeros = written.check().zeros
    assert zeros is not None
    masks = [uneven(index, written.dense(index).clone()) == 0 for index in range(len(written.layers))]
    assert zeros.fractions == pytest.approx([float(mask.float().mean()) for mask in masks])
    bits = [np.packbits(mask.numpy().reshape(-1)).tobytes() for mask in masks]
    assert zeros.sha256 == hashlib.sha256(b"".join(bits)).hexdigest()
    counts = sample_counts([layer.size for layer in written.layers])
    sample = np.unpackbits(np.frombuffer(zeros.sample, dtype=np.uint8))[: sum(counts)]
    drawn = [
        mask.numpy().reshape(-1)[sample_places(mask.numel(), count, index)]
        for index, (mask, count) in enumerate(zip(masks, counts, strict=True))
    ]
    assert sample.astype(bool).tolist() == np.concatenate(drawn).tolist()


def test_one_weight_too_few_is_missed_and_named(written: Written) -> None:
    def one_missing(index: int, weight: torch.Tensor) -> torch.Tensor:
        weight = half(index, weight)
        if index == 4:
            weight[0, 0] = 1e-30  # is not zero
        return weight

    written.write(one_missing)
    verdict = written.check()
    assert verdict.status == "SPARSITY_MISSED"
    assert verdict.failure is not None
    assert written.layers[4].name in verdict.failure.message
    assert verdict.achieved_sparsity is not None
    assert 0.499 < verdict.achieved_sparsity < 0.5


def test_rounding_down_by_row_or_by_column_is_allowed(written: Written) -> None:
    def by_row(_index: int, weight: torch.Tensor) -> torch.Tensor:
        weight[:, : int(weight.shape[1] * 0.33)] = 0
        return weight

    def by_column(_index: int, weight: torch.Tensor) -> torch.Tensor:
        weight[: int(weight.shape[0] * 0.33)] = 0
        return weight

    for edit in (by_row, by_column):
        written.write(edit)
        assert written.check("0.33").status == "OK"


def test_an_uneven_budget_must_be_declared(written: Written) -> None:
    def first_layers(index: int, weight: torch.Tensor) -> torch.Tensor:
        return weight if index % 2 and weight.shape[0] < 40 else torch.zeros_like(weight)

    written.write(first_layers)
    assert written.check().status == "SPARSITY_MISSED"
    assert written.check(uniform=False).status == "OK"
    assert written.check("0.99", uniform=False).status == "SPARSITY_MISSED"


def test_a_pattern_on_the_wrong_axis_is_violated(written: Written) -> None:
    def rows(_index: int, weight: torch.Tensor) -> torch.Tensor:
        weight[torch.arange(len(weight)) % 4 < 2] = 0
        return weight

    def groups(_index: int, weight: torch.Tensor) -> torch.Tensor:
        weight[:, torch.arange(weight.shape[1]) % 4 < 2] = 0
        return weight

    def one_group_too_full(index: int, weight: torch.Tensor) -> torch.Tensor:
        weight = groups(index, weight)
        if index == 9:
            weight[-1, -4:] = torch.tensor([0, 1.0, 2.0, 3.0])
        return weight

    for edit, status in ((rows, "PATTERN_VIOLATED"), (groups, "OK"), (one_group_too_full, "PATTERN_VIOLATED")):
        written.write(edit)
        assert written.check("2:4").status == status
        assert written.check("2:4", uniform=False).status == status


def test_a_rest_of_a_row_is_a_group_too(written: Written) -> None:
    def thirds(_index: int, weight: torch.Tensor) -> torch.Tensor:
        weight[:, torch.arange(weight.shape[1]) % 3 > 0] = 0  # in_features of 16 and 40 leave a rest of 1
        return weight

    written.write(thirds)
    assert written.check("1:3").status == "OK"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_no_score(value: float, written: Written) -> None:
    def spoil(index: int, weight: torch.Tensor) -> torch.Tensor:
        weight = half(index, weight)
        weight[3, 1] = value
        return weight

    written.write(spoil)
    assert written.check().status == "NON_FINITE"


def test_a_nan_under_the_mask_is_a_zero(written: Written) -> None:
    def change(index: int, weight: torch.Tensor) -> torch.Tensor:
        return half(index, weight) * 2

    written.write(change)
    layout = written.layout
    os.pwrite(written.descriptor, b"\0\0\xc0\x7f", layout.value_offsets[0])  # weight 0, which the mask removes
    verdict = written.check()
    assert (verdict.status, verdict.weights_changed) == ("OK", True)


def test_a_file_of_another_size_is_bad(written: Written) -> None:
    written.write(half)
    for size in (written.layout.total_bytes - 1, written.layout.total_bytes + 1, 0, 1 << 42):
        os.ftruncate(written.descriptor, size)
        verdict = written.check()
        assert (verdict.status, verdict.achieved_sparsity) == ("BAD_OUTPUT", None)


def test_padding_bits_and_flags_are_checked(llama: Path, tmp_path: Path) -> None:
    layers = [LayerSpec("model.layers.0.self_attn.k_proj", 0, 3, 3)]
    layout = Layout(layers)
    path = tmp_path / "odd"
    for at, byte in ((1, b"\x01"), (layout.flag_offset, b"\x02")):
        path.write_bytes(bytes(layout.total_bytes))
        with path.open("r+b") as file:
            os.pwrite(file.fileno(), byte, at)
            weights = PrunedWeights(file.fileno(), layers, Checkpoint(llama))
            assert weights.check(Sparsity.parse("0.5"), uniform=True).status == "BAD_OUTPUT"


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=64)), max_size=12))
def test_no_bytes_break_the_reader(written: Written, edits: list[tuple[float, bytes]]) -> None:
    written.write(half)
    for where, data in edits:
        os.pwrite(written.descriptor, data, int(where * (written.layout.total_bytes - 1)))
    verdict = written.check()
    assert verdict.status.value in ("OK", "BAD_OUTPUT", "NON_FINITE", "SPARSITY_MISSED")
    os.ftruncate(written.descriptor, written.layout.total_bytes)
