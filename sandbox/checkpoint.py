"""The dense model on disk: a config and safetensors files whose tensor names are the module's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from sandbox.layout import LayerSpec, oriented

CPU = torch.device("cpu")


class Checkpoint:
    """Tensors of a model folder, read one at a time and handed out as float32 on one device.

    A file is open only while one tensor is read, so that the pages of what was read before do not stay this process's.
    transformers is imported only when the architecture is needed: a pruner that looks at weights alone starts sooner.
    """

    def __init__(self, folder: Path, device: torch.device = CPU) -> None:
        """Open a folder's files; `device` is where tensors and models are given out, and so where they compute."""
        self.folder = folder
        self.device = device
        self._files: dict[str, Path] = {}
        for file in sorted(folder.glob("*.safetensors")):
            with safe_open(file, framework="pt") as tensors:
                self._files |= dict.fromkeys(tensors.keys(), file)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor, float32 where it is floating point. Never write into it: it may be the file's own memory."""
        with safe_open(self._files[name], framework="pt") as tensors:
            tensor: torch.Tensor = tensors.get_tensor(name).to(self.device)
        return tensor.float() if tensor.is_floating_point() else tensor

    def weight(self, layer: LayerSpec) -> torch.Tensor:
        """A prunable layer's weights, [out, in], float32. Of an expert only its own part of the parameter is read.

        Never write into it: it may be the file's own memory.
        """
        if layer.expert is None:
            return oriented(self.tensor(layer.parameter), layer)
        with safe_open(self._files[layer.parameter], framework="pt") as tensors:
            stored: torch.Tensor = tensors.get_slice(layer.parameter)[layer.expert]
        return oriented(stored.to(self.device).float(), layer)

    @cached_property
    def config(self) -> Any:
        """The architecture, as transformers reads it."""
        from transformers import AutoConfig  # noqa: PLC0415 - see the class

        config = AutoConfig.from_pretrained(self.folder, local_files_only=True, trust_remote_code=False)
        config.use_cache = False
        return config

    def skeleton(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        """The model in evaluation mode with real buffers, and with all parameters on the meta device."""
        from transformers import AutoModelForCausalLM  # noqa: PLC0415 - see the class

        with _parameters_on_meta():
            model: nn.Module = AutoModelForCausalLM.from_config(
                self.config,
                dtype=dtype,
                trust_remote_code=False,
                experts_implementation="eager",  # one product for each expert, so that its inputs can be seen
            )
        for name, buffer in model.named_buffers():
            if name in self:
                buffer.copy_(self.tensor(name))
        for part in model.modules():  # not the model as a whole: parameters on the meta device cannot be moved
            part._buffers |= {name: buffer.to(self.device) for name, buffer in part.named_buffers(recurse=False)}
        return model.eval().requires_grad_(False)

    def check(self, model: nn.Module) -> None:
        """See that each parameter of a skeleton is there in its shape; no weights are read.

        Raises:
            KeyError, ValueError: as `load`.
        """
        for name, expected in model.named_parameters():
            if name not in self:
                raise KeyError(f"the checkpoint lacks {name}")
            with safe_open(self._files[name], framework="pt") as tensors:
                _check_shape(name, tensors.get_slice(name).get_shape(), expected)

    def load(self, model: nn.Module, wanted: Callable[[str], bool] = bool) -> nn.Module:
        """Give a skeleton those of its parameters whose names are `wanted` (all, by default); tied ones stay tied.

        Raises:
            KeyError: the checkpoint lacks a parameter.
            ValueError: one has another shape than the config says.
        """
        shared: dict[int, list[str]] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            shared.setdefault(id(parameter), []).append(name)
        for name, expected in list(model.named_parameters()):
            if name in self and wanted(name):
                tensor = self.tensor(name)
                _check_shape(name, list(tensor.shape), expected)
                loaded = nn.Parameter(tensor, requires_grad=False)
                for owner, _, leaf in (other.rpartition(".") for other in shared[id(expected)]):
                    setattr(model.get_submodule(owner), leaf, loaded)
        tie: Any = getattr(model, "tie_weights", None)
        if tie is not None:
            tie()
        for name, parameter in model.named_parameters():
            if parameter.is_meta and wanted(name):
                raise KeyError(f"the checkpoint lacks {name}")
        return model


def _check_shape(name: str, shape: list[int], expected: torch.Tensor) -> None:
    if shape != list(expected.shape):
        raise ValueError(f"{name} has shape {shape}, the config says {list(expected.shape)}")


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """While active, a new module's parameters take no memory; its buffers, never stored, are computed as usual.

    A parameter that is on the meta device already is another module's: the two go on sharing it.
    """
    register = nn.Module.register_parameter

    def register_on_meta(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and not param.is_meta:
            param = nn.Parameter(param.to("meta"), requires_grad=False)
        register(module, name, param)

    nn.Module.register_parameter = register_on_meta  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]
