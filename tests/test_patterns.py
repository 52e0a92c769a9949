"""N:M for any n below m: groups that do not divide a row, or are longer than a row or than SparseGPT's blocks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from harness.records import Sparsity
from sandbox.masks import keep_in_groups

from .test_pruned_weights import Written
from .test_references import FakeLayer, pruned

PATTERNS = [(1, 2), (3, 4), (4, 8), (1, 16), (5, 7), (2, 5), (3, 130), (50, 200)]
"""The fake layers have 19 and 150 columns, those of the model 16 and 40."""


def expected_mask(saliency: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """Group by group, by sorting."""
    mask = torch.zeros_like(saliency, dtype=torch.bool)
    for row in range(saliency.shape[0]):
        for start in range(0, saliency.shape[1], m):
            for place in saliency[row, start : start + m].argsort(descending=True)[:n]:
                mask[row, start + int(place)] = True
    return mask


@pytest.mark.parametrize(("n", "m"), PATTERNS)
@pytest.mark.parametrize("columns", [1, 19, 150])
def test_any_pattern_keeps_the_n_largest_of_each_group(n: int, m: int, columns: int) -> None:
    saliency = torch.rand(6, columns, generator=torch.Generator().manual_seed(4))
    assert torch.equal(keep_in_groups(saliency, n, m), expected_mask(saliency, n, m))


def sparsegpt_float64(layer: FakeLayer, n: int, m: int) -> torch.Tensor:
    """SparseGPT of an n:m pattern column by column, with the inverse recomputed for what is left."""
    weight = layer.weight.double().clone()
    hessian = layer.inputs.double().T @ layer.inputs.double() / len(layer.inputs)
    hessian += 0.01 * hessian.diagonal().mean() * torch.eye(len(hessian))
    columns = weight.shape[1]
    kept = torch.ones_like(weight, dtype=torch.bool)
    inverses = [torch.linalg.inv(hessian[j:, j:])[0] for j in range(columns)]
    for j in range(columns):
        if j % m == 0:
            scale = torch.stack([inverse[0] for inverse in inverses[j : j + m]])
            kept[:, j : j + m] = expected_mask(weight[:, j : j + m] ** 2 / scale, n, m)
        error = torch.where(kept[:, j], 0, weight[:, j] / inverses[j][0])
        weight[:, j:] -= error[:, None] * inverses[j]
        weight[~kept[:, j], j] = 0
    return weight.float()


@pytest.mark.parametrize(("n", "m"), PATTERNS)
@pytest.mark.parametrize("columns", [19, 150])
def test_sparsegpt_of_any_pattern_is_the_papers_algorithm(n: int, m: int, columns: int) -> None:
    layer = FakeLayer(rows=8, columns=columns, tokens=400)
    expected = sparsegpt_float64(layer, n, m)
    found = pruned("sparsegpt", f"{n}:{m}", layer)
    assert torch.equal(found != 0, expected_mask((found != 0).float(), n, m) & (found != 0))  # at most n of each m
    same = (found == 0) == (expected == 0)
    assert same.float().mean() > 0.99
    torch.testing.assert_close(found[same], expected[same], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(("n", "m"), PATTERNS)
def test_the_check_knows_any_pattern(n: int, m: int, llama: Path, tmp_path: Path) -> None:
    written = Written(llama, tmp_path / "out")

    def exact(_index: int, weight: torch.Tensor) -> torch.Tensor:
        return torch.where(expected_mask(weight.abs(), n, m), weight, 0)

    def one_too_many(index: int, weight: torch.Tensor) -> torch.Tensor:
        pattern = exact(index, weight.clone())
        if index == 6:
            free = (pattern[2, :m] == 0).nonzero()[:1]
            pattern[2, free] = 1.0
        return pattern

    written.write(exact)
    assert written.check(f"{n}:{m}").status == "OK"
    written.write(one_too_many)
    fits = min(m, written.layers[6].in_features) <= n  # then a group may keep whatever it has
    assert written.check(f"{n}:{m}").status == ("OK" if fits else "PATTERN_VIOLATED")
    os.close(written.descriptor)


def test_a_pattern_of_any_m_is_read() -> None:
    assert [Sparsity.parse(f"{n}:{m}").label for n, m in PATTERNS] == [f"{n}:{m}" for n, m in PATTERNS]
