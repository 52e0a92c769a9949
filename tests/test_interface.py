"""What the task hands out, against plain computations on the whole model with transformers and hooks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, GPT2Config, PreTrainedConfig

from sandbox.checkpoint import Checkpoint
from sandbox.interface import NotApplicable
from sandbox.layout import Layout, OutputFile
from sandbox.structure import layer_specs
from sandbox.task import PruningTask, Sparsity
from sandbox.weights import BadWeight

from .conftest import VOCABULARY

IDS = torch.randint(0, VOCABULARY, (6, 16), generator=torch.Generator().manual_seed(2))
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture
def make_task(tmp_path: Path) -> Callable[..., PruningTask]:
    def make(folder: Path, mode: str = "sequential") -> PruningTask:
        checkpoint = Checkpoint(folder)
        layers = layer_specs(checkpoint)
        layout = Layout(layers)
        path = tmp_path / "out"
        path.write_bytes(bytes(layout.total_bytes))
        output = OutputFile(str(path), layout)
        return PruningTask(checkpoint, layers, output, IDS, Sparsity(0.5, None, None), mode, 0)

    return make


def inputs_of(model: torch.nn.Module, name: str) -> torch.Tensor:
    """What enters a layer for all calibration tokens."""
    seen: list[torch.Tensor] = []
    hook = model.get_submodule(name).register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    with torch.no_grad():
        model(input_ids=IDS)
    hook.remove()
    return seen[0].reshape(-1, seen[0].shape[-1])


def whole(folder: Path) -> torch.nn.Module:
    model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model


@pytest.mark.parametrize("mode", ["sequential", "dense"])
@pytest.mark.parametrize("model", ["llama", "opt"])
def test_statistics_are_those_of_the_blocks_as_pruned_so_far(
    model: str, mode: str, make_task: Callable[..., PruningTask], request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(model)
    reference, dense = whole(folder), whole(folder)
    current = -1
    for layer in make_task(folder, mode).layers():
        if layer.block != current:  # within a block, the reference stays as it was when the block was entered
            current, seen_by = layer.block, whole(folder)
            seen_by.load_state_dict(reference.state_dict())
        expected = inputs_of(seen_by if mode == "sequential" else dense, layer.name)
        torch.testing.assert_close(layer.inputs, expected, **CLOSE)
        torch.testing.assert_close(layer.input_norm, expected.norm(dim=0), **CLOSE)
        torch.testing.assert_close(layer.hessian, expected.T @ expected / IDS.numel(), **CLOSE)
        mask = layer.weight.abs() > layer.weight.abs().median()
        layer.keep(mask)
        reference.get_submodule(layer.name).get_parameter("weight").data.mul_(mask)


def test_gradients_are_those_of_the_dense_model(llama: Path, make_task: Callable[..., PruningTask]) -> None:
    reference = whole(llama)
    gradients: dict[str, list[torch.Tensor]] = {}
    for sequence in IDS:
        reference.zero_grad()
        logits = reference(input_ids=sequence[None]).logits[0]
        cross_entropy(logits[:-1], sequence[1:]).backward()
        for name, parameter in reference.named_parameters():
            assert parameter.grad is not None
            gradients.setdefault(name, []).append(parameter.grad.clone())
    for layer in make_task(llama).layers():
        stack = torch.stack(gradients[f"{layer.name}.weight"])
        torch.testing.assert_close(layer.grad, stack.mean(dim=0), **CLOSE)
        torch.testing.assert_close(layer.fisher, (stack**2).mean(dim=0), rtol=1e-4, atol=1e-9)
        layer.keep(torch.zeros_like(layer.weight, dtype=torch.bool))


def test_transposed_weights_look_like_any_other(
    save_model: Callable[[PreTrainedConfig], Path], make_task: Callable[..., PruningTask]
) -> None:
    config = GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=0)
    folder = save_model(config)
    reference = whole(folder)
    task = make_task(folder)
    for layer in task.layers():
        stored = reference.get_submodule(layer.name).get_parameter("weight").detach()
        assert torch.equal(layer.weight, stored.T)
        assert layer.inputs.shape == (IDS.numel(), stored.shape[0])
        assert layer.grad.shape == layer.weight.shape
        layer.weight = layer.weight * 2
    assert torch.equal(task.model.get_submodule(layer.name).get_parameter("weight"), stored * 2)


def test_a_weight_may_be_assigned_changed_in_place_masked_or_changed_in_the_model(
    llama: Path, make_task: Callable[..., PruningTask]
) -> None:
    task = make_task(llama)
    assigned, in_place, masked, in_model, replaced = list(task.layers())[:5]
    dense = [layer.weight.clone() for layer in (assigned, in_place, masked, in_model, replaced)]
    assigned.weight = torch.nn.Parameter(dense[0] * 3)
    in_place.weight[:, 0] = 0
    masked.keep(dense[2] > 0)
    _ = task.model
    after = list(task.layers())[5:7]
    after[0].weight = torch.nn.Parameter(after[0].weight * 7)
    after[1].keep(after[1].weight > 0)
    task.model.get_submodule(in_model.name).get_parameter("weight").data.mul_(2)
    task.model.get_submodule(replaced.name).weight = torch.nn.Parameter(dense[4] * 5)
    task.finish()
    written = [task._weights.written(index) for index in range(7)]
    names = [layer.name for layer in after]
    dense += [whole(llama).get_submodule(name).get_parameter("weight").detach() for name in names]
    dense[1][:, 0] = 0
    expected = [
        dense[0] * 3,
        dense[1],
        dense[2].clamp(min=0),
        dense[3] * 2,
        dense[4] * 5,
        dense[5] * 7,
        dense[6].clamp(min=0),
    ]
    for found, wanted in zip(written, expected, strict=True):
        assert torch.equal(found, wanted)


def test_layers_kept_in_a_list_are_still_pruned_through_one_another(
    llama: Path, make_task: Callable[..., PruningTask]
) -> None:
    task = make_task(llama)
    layers = list(task.layers())
    for layer in layers[:7]:  # block 0
        layer.keep(torch.zeros_like(layer.weight, dtype=torch.bool))
    reference = whole(llama)
    for layer in layers[:7]:
        reference.get_submodule(layer.name).get_parameter("weight").data.zero_()
    torch.testing.assert_close(layers[7].inputs, inputs_of(reference, layers[7].name), **CLOSE)


def test_tensors_that_a_pruner_collects_first_count_when_it_changes_them_later(
    llama: Path, make_task: Callable[..., PruningTask]
) -> None:
    task = make_task(llama)
    collected = [layer.weight for layer in task.layers()]
    for weight in collected:
        weight[:, ::2] = 0
    next(task.layers()).weight = torch.ones(16, 16)  # and a new one replaces what was collected
    task.finish()
    for index, weight in enumerate(collected[1:], start=1):
        assert torch.equal(task._weights.written(index), weight)
    assert torch.equal(task._weights.written(0), torch.ones(16, 16))


def test_views_and_weights_taken_before_the_model_count_too(llama: Path, make_task: Callable[..., PruningTask]) -> None:
    task = make_task(llama)
    views = [layer.weight.data.T for layer in task.layers()]
    array = list(task.layers())[-1].weight.numpy()
    del views[-1]
    for view in views:
        view[::2] = 0
    array[:] = 0
    taken = next(task.layers())
    first = taken.weight
    assert task.model.get_submodule(taken.name).get_parameter("weight").data_ptr() == first.data_ptr()
    first.mul_(2)
    taken.weight.data = taken.weight.data * 3
    task.finish()
    for index, view in enumerate(views[1:], start=1):
        assert torch.equal(task._weights.written(index), view.T)
    assert task._weights.written(len(views)).count_nonzero() == 0
    dense = whole(llama).get_submodule(taken.name).get_parameter("weight").detach().clone()
    dense[:, ::2] = 0
    assert torch.equal(task._weights.written(0), dense * 6)


def test_what_was_taken_of_a_transposed_weight_before_the_model_counts_too(
    save_model: Callable[[PreTrainedConfig], Path], make_task: Callable[..., PruningTask]
) -> None:
    config = GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=0)
    task = make_task(save_model(config))
    layer = next(task.layers())
    taken, dense = layer.weight, layer.weight.clone()
    model = task.model
    taken.mul_(2)
    assert torch.equal(model.get_submodule(layer.name).get_parameter("weight"), dense.T * 2)
    task.finish()
    assert torch.equal(task._weights.written(0), dense * 2)


def test_statistics_can_be_changed_without_harm(llama: Path, make_task: Callable[..., PruningTask]) -> None:
    layer = next(make_task(llama).layers())
    before = layer.hessian.clone(), layer.input_norm.clone()
    layer.hessian.zero_()
    layer.input_norm.zero_()
    assert torch.equal(layer.hessian, before[0])
    assert torch.equal(layer.input_norm, before[1])


def test_biases_are_there_where_the_model_has_them(
    opt: Path, llama: Path, make_task: Callable[..., PruningTask]
) -> None:
    layer = next(make_task(opt).layers())
    assert layer.bias is not None
    assert torch.equal(layer.bias, whole(opt).get_submodule(layer.name).get_parameter("bias"))
    layer.bias.zero_()
    assert layer.bias.abs().sum() > 0
    assert next(make_task(llama).layers()).bias is None


@pytest.mark.parametrize(
    "value", [torch.zeros(3, 3), torch.zeros(16, 16, dtype=torch.complex64), torch.zeros(16, 16).to_sparse(), "no"]
)
def test_what_is_no_weight_is_refused(value: torch.Tensor, llama: Path, make_task: Callable[..., PruningTask]) -> None:
    layer = next(make_task(llama).layers())
    with pytest.raises(BadWeight, match="q_proj"):
        layer.weight = value
    with pytest.raises(BadWeight, match="mask has shape"):
        layer.keep(torch.ones(2, 2, dtype=torch.bool))


def test_randomness_is_seeded_and_calibration_is_the_tokens(llama: Path, make_task: Callable[..., PruningTask]) -> None:
    first, second = make_task(llama), make_task(llama)
    assert torch.equal(torch.rand(4, generator=first.generator), torch.rand(4, generator=second.generator))
    assert torch.equal(first.calibration, IDS)
    assert first.NotApplicable is NotApplicable


def test_a_pruner_of_weights_alone_runs_no_model(llama: Path, tmp_path: Path) -> None:
    """Magnitude pruning costs no forward pass: transformers is not even imported."""
    np.save(tmp_path / "ids.npy", IDS.numpy())
    program = f"""
import sys
from pathlib import Path
import torch
from sandbox.checkpoint import Checkpoint
from sandbox.layout import LayerSpec, Layout, OutputFile
from sandbox.task import PruningTask, Sparsity
layers = [LayerSpec("model.layers.0.self_attn.q_proj", 0, 16, 16)]
out = Path({str(tmp_path)!r}) / "out"
out.write_bytes(bytes(Layout(layers).total_bytes))
output = OutputFile(str(out), Layout(layers))
sparsity = Sparsity(0.5, None, None)
task = PruningTask(Checkpoint(Path({str(llama)!r})), layers, output, torch.zeros(1, 2), sparsity, "", 0)
for layer in task.layers():
    layer.keep(layer.weight > 0)
task.finish()
assert "transformers" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parent.parent)


def test_statistics_may_be_asked_for_by_threads(llama: Path, make_task: Callable[..., PruningTask]) -> None:
    expected = [layer.input_norm for layer in make_task(llama).layers()]
    layers = list(make_task(llama).layers())
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda layer: layer.input_norm, layers))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_a_second_visit_sees_what_the_first_changed(
    make_task: Callable[..., PruningTask], llama: Path, tmp_path: Path
) -> None:
    task = make_task(llama)
    last = [layer for layer in task.layers() if layer.block == max(one.block for one in task.layers())]
    before = last[-1].input_norm
    for layer in task.layers():
        if layer.block < last[0].block or layer in last[:-1]:
            layer.weight = layer.weight * 0.5
    seen = [layer.input_norm for layer in task.layers() if layer.name == last[-1].name]
    fresh = PruningTask(
        task._checkpoint,
        list(task._weights.layers),
        task._weights._output,
        IDS,
        Sparsity(0.5, None, None),
        "sequential",
        0,
        task,
    )
    (expected,) = (layer.input_norm for layer in fresh.layers() if layer.name == last[-1].name)
    assert not torch.allclose(before, expected, **CLOSE)
    torch.testing.assert_close(seen[0], expected)
