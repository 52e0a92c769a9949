"""Budgets by outliers, against the definitions in plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness import pruners
from harness.bench import Bench
from harness.records import Sparsity
from sandbox.allocation import outlier_budgets, outlier_ratio, spread_ratios
from sandbox.interface import NotApplicable

from .test_references import FakeLayer, FakeTask, reference


class Model(FakeTask):
    """Three blocks of two layers, of which block 1 has outliers in its inputs and block 2 has none at all."""

    def __init__(self, sparsity: str) -> None:
        super().__init__(FakeLayer(), sparsity)
        self.all = []
        for block in range(3):
            for number, (rows, columns) in enumerate(((24, 40), (10, 24))):
                layer = FakeLayer(rows, columns)
                layer.name, layer.block = f"{block}.{number}", block
                if block == 1:
                    layer.inputs[:, ::9] *= 30
                if block == 2:
                    layer.weight = torch.ones(rows, columns)
                    layer.inputs = torch.ones(200, columns)
                self.all.append(layer)

    def layers(self) -> list[FakeLayer]:
        return self.all


def numpy_outliers(model: Model, block: int, times: float = 5) -> float:
    products = np.concatenate(
        [
            (np.abs(layer.weight.numpy()) * np.sqrt((layer.inputs.numpy().astype(float) ** 2).sum(axis=0))).ravel()
            for layer in model.all
            if layer.block == block
        ]
    )
    return float((products > times * products.mean()).mean())


def test_the_outlier_ratio_is_a_share_of_all_weights_of_a_block() -> None:
    parts = [torch.tensor([[1.0, 1.0], [1.0, 17.0]]), torch.tensor([[1.0, 1.0, 1.0, 1.0]])]  # mean 3
    assert outlier_ratio(parts, 5) == 1 / 8
    assert outlier_ratio(parts, 6) == 0


def test_ratios_lie_within_the_spread_and_keep_the_mean() -> None:
    outliers, sizes = {0: 0.01, 1: 0.05, 2: 0.02, 3: 0.02}, {0: 100, 1: 300, 2: 100, 3: 500}
    found = spread_ratios(outliers, sizes, 0.7, 0.08)
    assert sum(found[block] * sizes[block] for block in sizes) / 1000 == pytest.approx(0.7, abs=1e-12)
    assert max(abs(value - 0.7) for value in found.values()) == pytest.approx(0.08)
    mean = (0.01 * 100 + 0.05 * 300 + 0.02 * 600) / 1000
    for block, value in found.items():  # linear in the outlier ratio, and falling
        assert value == pytest.approx(0.7 - 0.08 * (outliers[block] - mean) / (0.05 - mean))


@pytest.mark.parametrize("ratio", [0.0, 0.03, 0.97])
def test_the_spread_never_leaves_what_a_ratio_can_be(ratio: float) -> None:
    found = spread_ratios({0: 0.0, 1: 0.3}, {0: 10, 1: 10}, ratio, 0.08)
    assert all(0 <= value < 1 for value in found.values())
    assert sum(found.values()) / 2 == pytest.approx(ratio)


def test_blocks_that_are_alike_share_evenly() -> None:
    assert spread_ratios({0: 0.02, 1: 0.02}, {0: 10, 1: 30}, 0.5, 0.08) == {0: 0.5, 1: 0.5}


@pytest.mark.parametrize("ratio", ["0", "0.1", "0.5", "0.613", "0.95"])
def test_budgets_add_up_and_follow_the_outliers(ratio: str) -> None:
    model = Model(ratio)
    shares = [numpy_outliers(model, block) for block in range(3)]
    assert shares[1] > shares[0] >= shares[2] == 0
    targets = spread_ratios(dict(enumerate(shares)), dict.fromkeys(range(3), 1200), float(ratio), 0.08)
    budgets = outlier_budgets(model)  # type: ignore[arg-type]
    zeros = 0
    for layer in model.all:
        out_features, in_features = layer.weight.shape
        pruned = int(in_features * budgets[layer.name].ratio)
        assert int(out_features * in_features * budgets[layer.name].ratio) == out_features * pruned
        assert abs(pruned - in_features * targets[layer.block]) < 1 + 1e-9
        zeros += out_features * pruned
    assert 0 <= zeros - 3600 * float(ratio) + 0.5 <= 24.5  # at most a column more than it takes


@pytest.mark.parametrize("name", ["owl_magnitude", "owl_wanda"])
def test_the_pruners_use_their_own_saliency_within_the_budgets(name: str) -> None:
    module, model, dense = reference(name), Model("0.6"), Model("0.6")
    assert module.UNIFORM is False
    budgets = outlier_budgets(dense)  # type: ignore[arg-type]
    module.prune(model)
    for layer, before in zip(model.all, dense.all, strict=True):
        size = before.weight.abs()
        saliency = (size * before.input_norm if name == "owl_wanda" else size.reshape(1, -1)).double()
        count = int(saliency.shape[1] * budgets[before.name].ratio)
        kept = (layer.weight != 0).reshape(saliency.shape)
        assert ((~kept).sum(dim=1) == count).all()
        assert torch.equal(layer.weight, torch.where(layer.weight != 0, before.weight, 0))
        for row, mask in zip(saliency, kept, strict=True):
            assert row[~mask].max() <= row[mask].min()


@pytest.mark.parametrize("sparsity", ["2:4", "rows:0.5"])
def test_patterns_and_structures_leave_nothing_to_share_out(sparsity: str) -> None:
    with pytest.raises(NotApplicable, match="asks the same of each layer"):
        outlier_budgets(Model(sparsity))  # type: ignore[arg-type]


def test_an_uneven_pruner_passes_the_check_and_is_marked(llama_bench: Bench) -> None:
    score = llama_bench.score(pruners.find("owl_wanda"), Sparsity.parse("0.5"))
    assert (score.status, score.uniform) == ("OK", False), score.error
    assert score.achieved_sparsity is not None
    assert 0.5 <= score.achieved_sparsity < 0.505
