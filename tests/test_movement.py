"""`movement` against its equations in plain float64, and `row_sum_movement` against its formula."""

from __future__ import annotations

import pytest
import torch

from harness.records import Sparsity

from .test_references import FakeLayer, lowest, pruned, reference

SPARSITIES = ["0.5", "0.7", "0.9", "2:4", "4:8"]


def kept_float64(saliency: torch.Tensor, sparsity: Sparsity, ratio: float) -> torch.Tensor:
    """Of a pattern that has been reached the n largest of each group, else all but the floor(size * ratio) smallest."""
    if sparsity.n is None or sparsity.m is None or ratio < sparsity.ratio:
        return ~lowest(saliency, int(saliency.numel() * ratio))
    kept = torch.zeros_like(saliency, dtype=torch.bool)
    for start in range(0, saliency.shape[1], sparsity.m):
        group = saliency[:, start : start + sparsity.m]
        places = start + group.argsort(dim=1, descending=True)[:, : sparsity.n]
        kept.scatter_(1, places, True)
    return kept


def scaled_float64(layer: FakeLayer) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """W and C for input features of norm 1 (per token), C with 2% damping, and the norms; all float64."""
    inputs = layer.inputs.double()
    scale = inputs.square().mean(dim=0).sqrt()
    features = inputs / scale
    damped = features.T @ features / len(features) + 0.02 * torch.eye(features.shape[1], dtype=torch.float64)
    return layer.weight.double() * scale, damped, scale


def mask_float64(
    weight: torch.Tensor, damped: torch.Tensor, sparsity: Sparsity, penalty: float = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Alternating directions as in Boyd et al. 2011: the mask after 20 steps, and X."""
    x, z, u = weight, weight, torch.zeros_like(weight)
    identity = torch.eye(len(damped), dtype=torch.float64)
    for step in range(1, 21):
        ratio = sparsity.ratio * (1 - (1 - step / 15) ** 3) if step < 15 else sparsity.ratio
        z = torch.where(kept_float64((x + u).abs(), sparsity, ratio), x + u, 0)
        u = u + x - z
        x = torch.linalg.solve(damped + penalty * identity, (weight @ damped + penalty * (z - u)).T).T
    return kept_float64((x + u).abs(), sparsity, sparsity.ratio), x


def closed_form(weight: torch.Tensor, damped: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """W_K + W_P C_PK (C_KK)^-1, row by row."""
    result = torch.zeros_like(weight)
    for row, mask, answer in zip(weight, kept, result, strict=True):
        answer[mask] = row[mask] + row[~mask] @ damped[~mask][:, mask] @ torch.linalg.inv(damped[mask][:, mask])
    return result


def krylov_fit(
    weight: torch.Tensor, damped: torch.Tensor, kept: torch.Tensor, start: torch.Tensor, steps: int
) -> torch.Tensor:
    """What conjugate gradients give after some steps: the best point of the Krylov space, row by row."""
    result = torch.where(kept, start, 0)
    for i, mask in enumerate(kept):
        root = damped.diagonal()[mask].sqrt()
        matrix = damped[mask][:, mask] / root / root[:, None]
        residual = ((weight[i] - result[i]) @ damped)[mask] / root
        basis = [residual / residual.norm()]
        for _ in range(min(steps, int(mask.sum())) - 1):
            more = matrix @ basis[-1]
            for _again in range(2):
                for vector in basis:
                    more = more - (more @ vector) * vector
            basis.append(more / more.norm())
        space = torch.stack(basis)
        shares = torch.linalg.solve(space @ matrix @ space.T, space @ residual)
        result[i, mask] += shares @ space / root
    return result


def reconstruction_error(layer: FakeLayer, weight: torch.Tensor) -> float:
    """The mean of |(W' - W) X^T|^2."""
    return float((layer.inputs.double() @ (weight.double() - layer.weight.double()).T).square().mean())


def test_many_fitting_steps_give_the_closed_form() -> None:
    weight, damped, _ = scaled_float64(FakeLayer())
    movement = reference("movement")
    movement.FITTING_STEPS = 100
    kept = torch.rand(weight.shape, generator=torch.Generator().manual_seed(1)) < 0.4
    kept[0], kept[1] = False, True  # a row that loses everything, and one that loses nothing
    found = movement.fitted(weight, damped, kept, weight)
    torch.testing.assert_close(found, closed_form(weight, damped, kept), rtol=1e-4, atol=1e-4)
    assert torch.equal(found[1], weight[1])
    assert not found[0].any()


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_its_own_steps_come_close_to_the_best_fit_of_its_mask(sparsity: str) -> None:
    layer = FakeLayer(48, 96, 400)
    weight, damped, scale = scaled_float64(layer)
    found = pruned("movement", sparsity, FakeLayer(48, 96, 400))
    best = closed_form(weight, damped, found != 0) / scale
    assert reconstruction_error(layer, found) < 1.2 * reconstruction_error(layer, best)


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_mask_and_weights_are_those_of_the_equations(sparsity: str) -> None:
    layer, target = FakeLayer(64, 96, 400), Sparsity.parse(sparsity)
    weight, damped, scale = scaled_float64(layer)
    kept, start = mask_float64(weight, damped, target)
    found = pruned("movement", sparsity, layer)
    assert ((found != 0) == kept).float().mean() > 0.999
    same = ((found != 0) == kept).all(dim=1)
    assert same.float().mean() > 0.9
    expected = krylov_fit(weight, damped, kept, start, 10) / scale
    torch.testing.assert_close(found[same].double(), expected[same], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sparsity", ["0.5", "0.6", "0.7", "0.8", "0.9", "2:4", "4:8"])
@pytest.mark.parametrize("shape", [(24, 40, 200), (64, 160, 400)])
def test_its_layers_answer_more_alike_than_those_of_sparsegpt(sparsity: str, shape: tuple[int, int, int]) -> None:
    layer = FakeLayer(*shape)
    errors = [
        reconstruction_error(layer, pruned(name, sparsity, FakeLayer(*shape))) for name in ("movement", "sparsegpt")
    ]
    assert errors[0] < errors[1]


@pytest.mark.parametrize("name", ["movement", "row_sum_movement"])
@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 3), (4, 8)])
def test_what_is_left_of_a_row_is_a_group_too(name: str, n: int, m: int) -> None:
    weight = pruned(name, f"{n}:{m}", FakeLayer(columns=43))
    assert weight.isfinite().all()
    for start in range(0, 43, m):
        group = weight[:, start : start + m]
        assert ((group != 0).sum(dim=1) == min(n, group.shape[1])).all()


@pytest.mark.parametrize("structure", ["columns", "heads"])
def test_whole_columns_and_heads_are_made_up_for(structure: str) -> None:
    layer, changed = FakeLayer(), FakeLayer()
    layer.heads = changed.heads = 5
    found = pruned("movement", f"{structure}:0.4", changed)
    kept = found != 0
    assert (kept == kept[0]).all()
    assert kept[0].sum() == 24
    assert reconstruction_error(layer, found) < 0.8 * reconstruction_error(layer, torch.where(kept, layer.weight, 0))


def test_layers_that_no_head_enters_stay_as_they_are() -> None:
    for name in ("movement", "row_sum_movement"):
        torch.testing.assert_close(pruned(name, "heads:0.4"), FakeLayer().weight, rtol=0, atol=0)


def test_dead_inputs_lose_their_weights_and_nothing_breaks() -> None:
    layer = FakeLayer()
    layer.inputs[:, 5] = 0
    layer.weight[3] = 0
    found = pruned("movement", "0.5", layer)
    assert found.isfinite().all()
    assert not found[:, 5].any()
    assert not found[3].any()
    assert pruned("movement", "0.5", FakeLayer(tokens=1)).isfinite().all()
    broken = FakeLayer()
    broken.inputs[0, 0] = torch.nan
    with pytest.raises(ArithmeticError, match="finite"):
        pruned("movement", "0.5", broken)


@pytest.mark.parametrize("sparsity", ["0.5", "0.8", "2:4"])
def test_row_sums_follow_the_formula(sparsity: str) -> None:
    dense, found = FakeLayer().weight, pruned("row_sum_movement", sparsity)
    kept = pruned("magnitude", sparsity) != 0
    assert torch.equal(found != 0, kept)
    for row, mask, answer in zip(dense.double(), kept, found, strict=True):
        gone = sum(float(value) for value in row[~mask])
        size = sum(abs(float(value)) for value in row[mask])
        expected = [float(value) + gone * abs(float(value)) / size for value in row[mask]]
        torch.testing.assert_close(answer[mask], torch.tensor(expected), rtol=1e-4, atol=1e-4)
    moved = (found - dense)[kept].abs().sum()
    assert moved > 0.01 * dense.abs().sum()  # zeroing first would move nothing
    torch.testing.assert_close(found.sum(dim=1), dense.sum(dim=1), rtol=1e-4, atol=1e-4)  # a row keeps its sum


def test_a_row_that_loses_everything_moves_nothing() -> None:
    layer = FakeLayer()
    layer.weight[0] = 1e-6
    found = pruned("row_sum_movement", "0.5", layer)
    assert found.isfinite().all()
    assert (found[0] == 0).all()
