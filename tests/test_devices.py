"""Computing on a GPU, as far as it can be seen without one: where tensors would be, and what is asked of the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from harness.devices import check_device
from harness.errors import InputFault, UsageError
from harness.pipeline import open_bench
from harness.records import Limits
from sandbox.checkpoint import Checkpoint
from sandbox.masks import keep_largest
from sandbox.masks import without_first as by_sorting
from sandbox.masks import without_smallest as by_numpy
from sandbox.streaming import StreamedModel

from .conftest import open_trusted

META = torch.device("meta")
"""In the place of a GPU: tensors that are not in the CPU's memory. They have no values."""
_FREE = {"to", "cpu", "_has_compatible_shallow_copy_type", "device", "empty_like", "zeros_like", "ones_like"}


class Elsewhere(Checkpoint):
    """A checkpoint on the meta device, where a parameter that was loaded looks like one that was not."""

    def load(self, model: nn.Module, wanted: Callable[[str], bool] = bool) -> nn.Module:
        self.device = torch.device("cpu")
        super().load(model, wanted)
        self.device = META
        return model.to(META)


class OneDevice(TorchFunctionMode):
    """While active, no call may mix tensors of two devices, as none can with a GPU."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        given = [value for value in (*args, *(kwargs or {}).values()) if isinstance(value, torch.Tensor)]
        assert name in _FREE or len({tensor.device for tensor in given if tensor.dim()}) < 2, name
        if name == "cpu":
            return torch.zeros(args[0].shape, dtype=args[0].dtype)
        if name in ("item", "__bool__") and args[0].is_meta:
            return True
        return func(*args, **(kwargs or {}))


def test_a_block_runs_on_the_device_and_its_states_stay_in_the_cpus_memory(llama: Path) -> None:
    with OneDevice(), torch.no_grad():
        model = StreamedModel(Elsewhere(llama, META))
        ids = torch.zeros(3, 8, dtype=torch.long)
        hidden = model.embed(ids)
        left = model.run_block(0, hidden)
        assert hidden.device.type == left.device.type == "cpu"
        assert model.logits(ids, left).device == META
        assert {tensor.device for tensor in model._parameters(0, None).values()} == {META}
    assert model.lanes == 1


@pytest.mark.parametrize("ties", [False, True])
def test_a_device_chooses_the_weights_that_the_cpu_chooses(ties: bool) -> None:
    rows = torch.rand(7, 60, generator=torch.Generator().manual_seed(0))
    rows = (rows * 4).round() if ties else rows
    for count in (1, 30, 59):
        assert torch.equal(by_sorting(rows, count), by_numpy(rows, count))


def test_nan_counts_as_the_largest_either_way() -> None:
    rows = torch.tensor([[3.0, torch.nan, 1.0, torch.nan]])
    expected = torch.tensor([[False, True, False, True]])
    assert torch.equal(by_sorting(rows, 2), expected)
    assert torch.equal(by_numpy(rows, 2), expected)


def test_the_cpu_is_the_default_and_changes_no_protocol_id(llama: Path, tokens: str) -> None:
    arguments: dict[str, Any] = {"calibration": tokens, "evaluation": tokens}
    assert (
        open_trusted(str(llama), **arguments).measurement
        == open_trusted(str(llama), device="cpu", **arguments).measurement
    )


def test_another_device_is_another_protocol(llama: Path, tokens: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    arguments: dict[str, Any] = {"calibration": tokens, "evaluation": tokens}
    here, there = (open_trusted(str(llama), device=device, **arguments).measurement for device in ("cpu", "cuda"))
    assert here.id != there.id
    assert (here.device, there.device) == ("cpu", "cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_said_before_anything_runs(llama: Path) -> None:
    with pytest.raises(InputFault, match="finds no GPU here; use --device cpu"):
        open_bench(str(llama), device="cuda")


def test_a_device_that_is_none_of_them_is_refused() -> None:
    with pytest.raises(UsageError, match="give cpu or cuda"):
        check_device("tpu")


@pytest.mark.parametrize(("visible", "gpu"), [(None, "0"), ("3", "3"), ("GPU-5a,1", "GPU-5a")])
def test_docker_is_asked_for_the_gpu_of_the_process_only_where_it_is_wanted(
    visible: str | None, gpu: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.sandboxes.docker import DockerSandbox

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    sandbox = object.__new__(DockerSandbox)
    sandbox._runtime, sandbox._engine_cpus = None, 2
    wanted = sandbox._options([], Limits(device="cuda"), 1)["device_requests"]
    assert [(request["DeviceIDs"], request["Capabilities"]) for request in wanted] == [([gpu], [["gpu"]])]
    assert sandbox._options([], Limits(), 1)["device_requests"] == []


def test_structures_stay_on_the_device() -> None:
    from sandbox.task import Sparsity

    with OneDevice():
        saliency = torch.ones(4, 8, device=META)
        for sparsity in (Sparsity(0.5, None, None, "rows"), Sparsity(0.5, 2, 4), Sparsity(0.5, None, None)):
            assert keep_largest(saliency, sparsity, "layer").device == META
