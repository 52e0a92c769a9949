"""The reference pruners against independent formulations, and in the order of the literature on the testbeds."""

from __future__ import annotations

from collections.abc import Callable
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from harness import pruners
from harness.bench import Bench
from harness.records import Sparsity
from harness.resources import resource
from sandbox.interface import NotApplicable
from sandbox.masks import keep_in_groups, keep_largest

from .conftest import open_trusted

NAMES = pruners.references()
NEED_BIAS = ("bias", "negative_bias")


class FakeLayer:
    name, block, bias = "layer", 0, None
    heads: int | None = None

    def __init__(self, rows: int = 24, columns: int = 40, tokens: int = 200) -> None:
        generator = torch.Generator().manual_seed(3)
        mixed = torch.randn(columns, columns, generator=generator)
        self.weight = torch.randn(rows, columns, generator=generator)
        self.inputs = torch.randn(tokens, columns, generator=generator) @ mixed
        self.grad = torch.randn(rows, columns, generator=generator)

    @property
    def input_norm(self) -> torch.Tensor:
        return self.inputs.square().sum(dim=0).sqrt()

    @property
    def hessian(self) -> torch.Tensor:
        return self.inputs.T @ self.inputs / len(self.inputs)

    def keep(self, mask: torch.Tensor) -> None:
        self.weight = self.weight * mask


class FakeTask:
    def __init__(self, layer: FakeLayer, sparsity: str) -> None:
        self.layer, self.sparsity = layer, Sparsity.parse(sparsity)
        self.generator = torch.Generator().manual_seed(0)
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def layers(self) -> list[FakeLayer]:
        return [self.layer]


def reference(name: str) -> Any:
    spec = util.spec_from_file_location(f"reference_{name}", resource("reference_pruners") / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pruned(name: str, sparsity: str, layer: FakeLayer | None = None) -> torch.Tensor:
    layer = layer or FakeLayer()
    reference(name).prune(FakeTask(layer, sparsity))
    return layer.weight


def lowest(saliency: torch.Tensor, count: int) -> torch.Tensor:
    """Mask of the `count` smallest entries, by sorting."""
    mask = torch.zeros(saliency.numel(), dtype=torch.bool)
    mask[saliency.flatten().sort(stable=True).indices[:count]] = True
    return mask.reshape(saliency.shape)


SALIENCIES: dict[str, Callable[[FakeLayer], torch.Tensor]] = {
    "magnitude": lambda layer: layer.weight.abs(),
    "negative_magnitude": lambda layer: -layer.weight.abs(),
    "first_order_movement": lambda layer: -layer.weight * layer.grad,
    "wanda": lambda layer: layer.weight.abs() * layer.inputs.square().sum(dim=0).sqrt(),
}


@pytest.mark.parametrize("name", SALIENCIES)
@pytest.mark.parametrize("ratio", [0.0, 0.37, 0.5, 0.9])
def test_masks_follow_the_formula(name: str, ratio: float) -> None:
    layer = FakeLayer()
    saliency = SALIENCIES[name](layer)
    if name == "wanda":
        removed = torch.stack([lowest(row, int(len(row) * ratio)) for row in saliency])
    else:
        removed = lowest(saliency, int(saliency.numel() * ratio))
    assert torch.equal(pruned(name, str(ratio)), torch.where(removed, 0, FakeLayer().weight))


@pytest.mark.parametrize("name", SALIENCIES)
@pytest.mark.parametrize(("n", "m"), [(2, 4), (4, 8), (1, 3)])
def test_patterns_keep_the_n_largest_of_each_group(name: str, n: int, m: int) -> None:
    layer = FakeLayer()
    saliency, expected = SALIENCIES[name](layer), layer.weight.clone()
    for row in range(saliency.shape[0]):
        for start in range(0, saliency.shape[1], m):
            group = saliency[row, start : start + m]
            for place in group.argsort(descending=True)[n:]:
                expected[row, start + int(place)] = 0
    assert torch.equal(pruned(name, f"{n}:{m}"), expected)


def sparsegpt_float64(layer: FakeLayer, sparsity: Sparsity, width: int) -> torch.Tensor:
    """Algorithm 1 of the SparseGPT paper, column by column, with the inverse recomputed for what is left."""
    weight = layer.weight.double().clone()
    hessian = layer.inputs.double().T @ layer.inputs.double() / len(layer.inputs)
    hessian += 0.01 * hessian.diagonal().mean() * torch.eye(len(hessian))
    columns = weight.shape[1]
    removed = torch.zeros_like(weight, dtype=torch.bool)
    done = 0
    for j in range(columns):
        left = torch.linalg.inv(hessian[j:, j:])  # of the columns that are not fixed yet
        if sparsity.n is None and j % width == 0:
            stop = min(j + width, columns)
            scale = torch.stack([torch.linalg.inv(hessian[k:, k:])[0, 0] for k in range(j, stop)])
            wanted = int(weight.shape[0] * stop * sparsity.ratio) - done
            removed[:, j:stop] = lowest(weight[:, j:stop] ** 2 / scale, wanted)
            done += wanted
        if sparsity.n is not None and sparsity.m is not None and j % sparsity.m == 0:
            stop = j + sparsity.m
            scale = torch.stack([torch.linalg.inv(hessian[k:, k:])[0, 0] for k in range(j, stop)])
            saliency = weight[:, j:stop] ** 2 / scale
            removed[:, j:stop] = torch.stack([lowest(row, sparsity.m - sparsity.n) for row in saliency])
        error = torch.where(removed[:, j], weight[:, j] / left[0, 0], 0)
        weight[:, j:] -= error[:, None] * left[0][None, :]
        weight[removed[:, j], j] = 0
    return weight.float()


@pytest.mark.parametrize("sparsity", ["0.5", "0.75", "2:4", "4:8"])
@pytest.mark.parametrize("columns", [40, 160])
def test_sparsegpt_is_the_papers_algorithm(sparsity: str, columns: int) -> None:
    layer = FakeLayer(columns=columns, tokens=400)
    expected = sparsegpt_float64(layer, Sparsity.parse(sparsity), 128)
    found = pruned("sparsegpt", sparsity, layer)
    assert ((found == 0) == (expected == 0)).float().mean() > 0.999
    same = (found == 0) == (expected == 0)
    torch.testing.assert_close(found[same], expected[same], rtol=1e-4, atol=1e-4)


def test_sparsegpt_beats_its_own_mask_without_compensation() -> None:
    layer = FakeLayer()
    found = pruned("sparsegpt", "0.5")
    plain = torch.where(found == 0, 0, layer.weight)

    def loss(weight: torch.Tensor) -> float:
        return float((layer.inputs @ (weight - layer.weight).T).square().mean())

    assert loss(found) < 0.7 * loss(plain)


def test_sparsegpt_survives_dead_inputs_and_raises_damping() -> None:
    layer = FakeLayer()
    layer.inputs[:, 5] = 0
    found = pruned("sparsegpt", "0.5", layer)
    assert found.isfinite().all()
    assert (found[:, 5] == 0).all()
    single = FakeLayer(tokens=1)
    assert pruned("sparsegpt", "0.5", single).isfinite().all()
    broken = FakeLayer()
    broken.inputs[0, 0] = torch.nan
    with pytest.raises(ArithmeticError, match="finite"):
        pruned("sparsegpt", "0.5", broken)


def test_sparsegpt_notes_where_damping_was_raised() -> None:
    class Indefinite(FakeLayer):
        @property
        def hessian(self) -> torch.Tensor:
            hessian = torch.eye(40)
            hessian[0, 1] = hessian[1, 0] = 1.05  # its least eigenvalue is -0.05: 0.01 is too little, 0.01 + 0.1 is not
            return hessian

    for layer, notes in ((FakeLayer(), []), (Indefinite(), ["layer: damping raised to 0.11 of the mean diagonal"])):
        for sparsity in ("0.5", "columns:0.5"):
            task = FakeTask(layer, sparsity)
            reference("sparsegpt").prune(task)
            assert task.notes == notes


def test_bias_pruning_takes_the_rows_of_smallest_or_largest_bias() -> None:
    for name, rows in (("bias", slice(0, 12)), ("negative_bias", slice(12, 24))):
        layer = FakeLayer()
        layer.bias = torch.arange(1.0, 25.0)  # type: ignore[assignment]
        found = pruned(name, "0.5", layer)
        assert (found[rows] == 0).all()
        assert (found == 0).sum() == found.numel() // 2
        with pytest.raises(NotApplicable, match="has no bias"):
            pruned(name, "0.5")


@pytest.mark.parametrize("name", NEED_BIAS)
@pytest.mark.parametrize("ratio", [0.0, 0.37, 0.5, 0.9])
def test_bias_pruning_sorts_by_bias_and_then_by_size(name: str, ratio: float) -> None:
    layer, dense = FakeLayer(), FakeLayer().weight
    bias = torch.randn(24, generator=torch.Generator().manual_seed(5))
    layer.bias = bias  # type: ignore[assignment]
    sign = 1 if name == "bias" else -1
    sizes = [(sign * abs(float(bias[i])), abs(float(dense[i, j])), i, j) for i in range(24) for j in range(40)]
    expected = dense.clone()
    for _, _, i, j in sorted(sizes)[: int(dense.numel() * ratio)]:
        expected[i, j] = 0
    assert torch.equal(pruned(name, str(ratio), layer), expected)


@pytest.mark.parametrize("name", NEED_BIAS)
@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 3)])
def test_within_a_pattern_all_biases_are_equal_and_size_decides(name: str, n: int, m: int) -> None:
    layer = FakeLayer()
    layer.bias = torch.randn(24, generator=torch.Generator().manual_seed(5))  # type: ignore[assignment]
    assert torch.equal(pruned(name, f"{n}:{m}", layer), pruned("magnitude", f"{n}:{m}"))


@pytest.mark.parametrize("ratio", [0.0, 0.37, 0.9])
def test_random_removes_the_smallest_of_uniform_draws(ratio: float) -> None:
    drawn = torch.rand(24, 40, generator=torch.Generator().manual_seed(0))
    expected = torch.where(lowest(drawn, int(24 * 40 * ratio)), 0, FakeLayer().weight)
    assert torch.equal(pruned("random", str(ratio)), expected)


def test_random_depends_on_the_generator_alone() -> None:
    assert torch.equal(pruned("random", "0.5"), pruned("random", "0.5"))
    assert (pruned("random", "0.5") == 0).sum() == 24 * 40 // 2


def test_equal_saliencies_are_cut_to_the_budget() -> None:
    equal = torch.ones(6, 10)
    assert (~keep_largest(equal, Sparsity.parse("0.3"), "layer")).sum() == 18
    assert (~keep_largest(equal, Sparsity.parse("0.3"), "row")).sum(dim=1).tolist() == [3] * 6
    assert keep_in_groups(equal, 2, 4).sum(dim=1).tolist() == [6] * 6  # 2 + 2, and 2 of the rest of 2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sparsity", ["0.5", "2:4"])
def test_every_reference_meets_its_target_in_the_worker(
    name: str, sparsity: str, llama_bench: Bench, opt_bench: Bench
) -> None:
    on_opt = opt_bench.score(pruners.find(name), Sparsity.parse(sparsity))
    if sparsity == "2:4" and name.startswith("owl_"):  # a pattern leaves no budget to share out
        assert on_opt.status == "NA"
        return
    assert on_opt.status == "OK", on_opt.error
    assert on_opt.achieved_sparsity == pytest.approx(0.5, abs=0.01)
    on_llama = llama_bench.score(pruners.find(name), Sparsity.parse(sparsity))
    assert on_llama.status == ("NA" if name in NEED_BIAS else "OK"), on_llama.error


@pytest.mark.parametrize("target", ["testbed-llama", "testbed-opt"])
@pytest.mark.parametrize("sparsity", ["0.6", "0.7"])
def test_the_order_of_the_literature_holds_on_the_testbeds(target: str, sparsity: str) -> None:
    bench = open_trusted(target)
    found = {}
    for name in ("sparsegpt", "wanda", "magnitude"):
        score = bench.score(pruners.find(name), Sparsity.parse(sparsity))
        assert score.perplexity is not None, score.error
        found[name] = score.perplexity
    assert bench.dense_perplexity < found["sparsegpt"] < found["wanda"] < found["magnitude"]


def test_the_references_are_those_of_the_documentation() -> None:
    assert set(NAMES) == {path.stem for path in Path(resource("reference_pruners")).glob("[a-z]*.py")}
    assert {"magnitude", "wanda", "sparsegpt", "movement", "row_sum_movement", "random", *NEED_BIAS} <= set(NAMES)
