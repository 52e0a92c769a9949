"""Whole rows, columns and attention heads: the masks, SparseGPT's fit, the check, and how heads are found."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedConfig

from harness import pruners
from harness.bench import Bench
from harness.errors import UsageError
from harness.records import Sparsity
from sandbox.attention import attention_heads
from sandbox.checkpoint import Checkpoint
from sandbox.masks import keep_largest
from sandbox.structure import layer_specs

from .conftest import llama_config
from .test_decoders import ARCHITECTURES
from .test_pruned_weights import Written
from .test_references import SALIENCIES, FakeLayer, pruned

STRUCTURES = ("rows", "columns", "heads")
HEADS = 5


class Projection(FakeLayer):
    """An attention output projection: 40 columns are 5 heads of 8."""

    heads = HEADS


def parts(weight: torch.Tensor, structure: str) -> list[torch.Tensor]:
    """The structures one by one, by plain indexing."""
    if structure == "rows":
        return [weight[i] for i in range(weight.shape[0])]
    if structure == "columns":
        return [weight[:, j] for j in range(weight.shape[1])]
    width = weight.shape[1] // HEADS
    return [weight[:, h * width : (h + 1) * width] for h in range(HEADS)]


def whole(weight: torch.Tensor, structure: str) -> int:
    return sum(not part.any() for part in parts(weight, structure))


@pytest.mark.parametrize("text", ["rows:0.5", "columns:0.25", "heads:0.3", "rows:0"])
def test_a_structure_is_read_and_shown_as_it_was_written(text: str) -> None:
    sparsity = Sparsity.parse(f" {text} ")
    assert (sparsity.label, sparsity.n, sparsity.m) == (text, None, None)
    assert sparsity.structure == text.partition(":")[0]
    assert sparsity.ratio == float(text.partition(":")[2])


@pytest.mark.parametrize(
    ("text", "words"), [("rows:1", "below 1"), ("rows:", "rows:0.5"), ("rows:2:4", "rows:0.5"), ("cols:0.5", "columns")]
)
def test_what_is_no_structure_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as raised:
        Sparsity.parse(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("ratio", [0.0, 0.33, 0.6])
def test_the_structures_of_smallest_total_saliency_go(structure: str, ratio: float) -> None:
    saliency = torch.rand(24, 40, generator=torch.Generator().manual_seed(1))
    mask = keep_largest(saliency, Sparsity.parse(f"{structure}:{ratio}"), "layer", heads=HEADS)
    totals = [float(part.double().sum()) for part in parts(saliency, structure)]
    order = sorted(range(len(totals)), key=totals.__getitem__)
    gone = set(order[: int(len(totals) * ratio)])
    for index, part in enumerate(parts(mask, structure)):
        assert part.all() if index not in gone else not part.any()


def test_a_layer_that_no_heads_enter_keeps_everything() -> None:
    assert keep_largest(torch.rand(4, 6), Sparsity.parse("heads:0.5"), "row").all()


@pytest.mark.parametrize("name", SALIENCIES)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_references_remove_whole_structures_by_their_own_saliency(name: str, structure: str) -> None:
    layer = Projection()
    totals = torch.stack([part.double().sum() for part in parts(SALIENCIES[name](layer), structure)])
    gone = set(totals.argsort()[: int(len(totals) * 0.4)].tolist())
    found = pruned(name, f"{structure}:0.4", layer)
    for index, part in enumerate(parts(found, structure)):
        assert torch.equal(
            part, torch.zeros_like(part) if index in gone else parts(Projection().weight, structure)[index]
        )


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("name", ["bias", "negative_bias", "random", "sparsegpt", "movement", "row_sum_movement"])
def test_all_other_references_meet_a_structure_too(name: str, structure: str) -> None:
    layer = Projection()
    layer.bias = torch.arange(1.0, 25.0)  # type: ignore[assignment]
    found = pruned(name, f"{structure}:0.4", layer)
    assert whole(found, structure) == int(len(parts(found, structure)) * 0.4)


@pytest.mark.parametrize("structure", ["columns", "heads"])
def test_sparsegpt_makes_up_for_columns_as_the_optimal_brain_surgeon_does(structure: str) -> None:
    layer = Projection()
    weight, inputs = layer.weight.double().clone(), layer.inputs.double()
    hessian = inputs.T @ inputs / len(inputs)
    hessian += 0.01 * hessian.diagonal().mean() * torch.eye(40, dtype=torch.float64)
    inverse = torch.linalg.inv(hessian)
    columns = parts(torch.arange(40)[None], structure)  # indices of the columns of each structure
    cost = [sum(float((weight[:, j] ** 2).sum() / inverse[j, j]) for j in part.flatten()) for part in columns]
    gone = torch.cat([columns[i].flatten() for i in torch.tensor(cost).argsort()[: int(len(cost) * 0.4)]])
    expected = weight - weight[:, gone] @ torch.linalg.inv(inverse[gone][:, gone]) @ inverse[gone]
    expected[:, gone] = 0
    found = pruned("sparsegpt", f"{structure}:0.4", layer).double()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)

    def loss(changed: torch.Tensor) -> float:
        return float((inputs @ (changed - weight).T).square().mean())

    assert loss(found) < 0.8 * loss(torch.where(found == 0, 0, weight))


def test_sparsegpt_drops_rows_and_leaves_the_others() -> None:
    found, dense = pruned("sparsegpt", "rows:0.5"), FakeLayer().weight
    gone = (found == 0).all(dim=1)
    assert gone.sum() == 12
    assert torch.equal(found[~gone], dense[~gone])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_heads_enter_the_attentions_output_projection(
    name: str, save_model: Callable[[PreTrainedConfig], Path]
) -> None:
    config = ARCHITECTURES[name].config()
    projections = {"gpt2": "attn.c_proj", "opt": "self_attn.out_proj", "bloom": "self_attention.dense"}
    projections |= {"falcon": "self_attention.dense", "gpt_neox": "attention.dense"}
    layers = layer_specs(Checkpoint(save_model(config)))
    found = {layer.name: layer.heads for layer in layers if layer.heads}
    ending = projections.get(name, "self_attn.o_proj")
    assert found == dict.fromkeys((x.name for x in layers if x.name.endswith(ending)), config.num_attention_heads)
    assert len(found) == config.num_hidden_layers


def test_without_attention_or_with_an_odd_width_there_are_no_heads() -> None:
    same = {"fc": torch.ones(1, 2, 8)}
    assert attention_heads(same, same, llama_config()) == {}
    mixed = {"fc": torch.zeros(1, 2, 8)}
    assert attention_heads(same, mixed, llama_config()) == {"fc": 4}
    odd = llama_config(hidden_size=18, num_attention_heads=3, num_key_value_heads=3)
    assert attention_heads(same, mixed, odd) == {}


@pytest.fixture
def written(llama: Path, tmp_path: Path) -> Iterator[Written]:
    result = Written(llama, tmp_path / "out")
    yield result
    os.close(result.descriptor)


def zeroed(structure: str, count: int) -> Callable[[int, torch.Tensor], torch.Tensor]:
    def edit(_index: int, weight: torch.Tensor) -> torch.Tensor:
        if structure == "rows":
            weight[:count] = 0
        else:
            weight[:, : count * (1 if structure == "columns" else 4)] = 0  # 16 columns are 4 heads
        return weight

    return edit


def test_the_check_counts_whole_structures(written: Written) -> None:
    written.write(zeroed("rows", 20))  # the layers have 8, 16 and 40 rows
    assert written.check("rows:0.5").status == "OK"
    assert written.check("rows:0.55").status == "SPARSITY_MISSED"
    written.write(zeroed("columns", 8))
    assert written.check("columns:0.2").status == "OK"
    verdict = written.check("columns:0.5")  # of the layers with 40 columns, too few
    assert verdict.status == "SPARSITY_MISSED"
    assert verdict.failure is not None
    assert verdict.failure.message.startswith("model.layers.0.mlp.down_proj has 8 columns of zeros, but needs 20")
    written.write(zeroed("heads", 2))
    assert written.check("heads:0.5").status == "OK"
    assert written.check("heads:0.75").status == "SPARSITY_MISSED"


def test_heads_are_asked_of_the_output_projections_alone(written: Written) -> None:
    projections = [index for index, layer in enumerate(written.layers) if layer.heads]
    assert len(projections) == 3

    def others_dense(index: int, weight: torch.Tensor) -> torch.Tensor:
        return zeroed("heads", 2)(index, weight) if index in projections else weight

    def one_head_short(index: int, weight: torch.Tensor) -> torch.Tensor:
        return zeroed("heads", 1 if index == projections[1] else 2)(index, weight)

    written.write(others_dense)
    assert written.check("heads:0.5").status == "OK"
    written.write(one_head_short)
    verdict = written.check("heads:0.5")
    assert verdict.status == "SPARSITY_MISSED"
    assert verdict.failure is not None
    assert written.layers[projections[1]].name in verdict.failure.message


@pytest.mark.parametrize("uniform", [True, False])
def test_zeros_that_are_enough_but_scattered_violate_the_pattern(uniform: bool, written: Written) -> None:
    def checkered(_index: int, weight: torch.Tensor) -> torch.Tensor:
        weight[::2, ::2] = 0
        weight[1::2, 1::2] = 0
        return weight

    written.write(checkered)
    for structure in STRUCTURES:
        assert written.check(f"{structure}:0.5", uniform).status == "PATTERN_VIOLATED"
        assert written.check(f"{structure}:0.75", uniform).status == "SPARSITY_MISSED"
        assert written.check(f"{structure}:0", uniform).status == "OK"


def test_an_uneven_budget_counts_the_weights_of_whole_structures(written: Written) -> None:
    def uneven(index: int, weight: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(weight) if index % 7 in (4, 5) else weight  # gate and up, over half of a block

    written.write(uneven)
    assert written.check("rows:0.4", uniform=False).status == "OK"
    verdict = written.check("rows:0.4")
    assert verdict.status == "SPARSITY_MISSED"
    assert verdict.failure is not None
    assert "UNIFORM = False" in verdict.failure.message
    assert written.check("rows:0.8", uniform=False).status == "SPARSITY_MISSED"


@pytest.mark.parametrize("sparsity", ["columns:0.5", "heads:0.5"])
def test_a_structure_goes_through_the_worker(sparsity: str, opt_bench: Bench) -> None:
    score = opt_bench.score(pruners.find("sparsegpt"), Sparsity.parse(sparsity))
    assert (score.status, score.sparsity) == ("OK", sparsity), score.error
    assert score.perplexity is not None


def test_heads_of_a_model_without_any_are_refused_before_the_run(llama_bench: Bench) -> None:
    target = replace(llama_bench.target, name="headless")
    target.__dict__["layers"] = [replace(layer, heads=0) for layer in llama_bench.target.layers]
    bench = replace(llama_bench, target=target)
    with pytest.raises(UsageError, match="attention heads was found in headless; use rows or columns"):
        bench.score(pruners.find("magnitude"), Sparsity.parse("heads:0.5"))
    bench.check_sparsity(Sparsity.parse("rows:0.5"))


@pytest.mark.parametrize("structure", ["rows", "columns", "heads"])
def test_less_than_one_structure_is_refused_before_the_run(llama_bench: Bench, structure: str) -> None:
    with pytest.raises(UsageError, match=rf"{structure}:0.001: of the \d+ {structure} of a layer.*give at least"):
        llama_bench.check_sparsity(Sparsity.parse(f"{structure}:0.001"))
    llama_bench.check_sparsity(Sparsity.parse(f"{structure}:0"))
    llama_bench.check_sparsity(Sparsity.parse(f"{structure}:0.5"))
