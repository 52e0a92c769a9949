"""What a decoder is made of, found from how it runs: the prunable matrices in its blocks, and what is left.

A block is run once on two tokens with weights that are all zero, and each linear product is watched. Prunable are the
weights of linear layers, and the matrices of parameters of three dimensions (experts) that were seen as weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from transformers.pytorch_utils import Conv1D

from sandbox.attention import attention_heads, changed_first_token
from sandbox.checkpoint import CPU, Checkpoint
from sandbox.layout import LayerSpec
from sandbox.products import OPERANDS, Products
from sandbox.streaming import StreamedModel, UnsupportedModel, find_blocks

_CHOOSING = ("topk", "argmax", "sort", "argsort", "max")
"""Functions by which a router chooses experts."""


@dataclass(frozen=True, slots=True)
class Part:
    """Parameters that are not pruned: a matrix under its module's name, `*` for the block's index, or all of a kind."""

    name: str
    parameters: int


def layer_specs(checkpoint: Checkpoint) -> list[LayerSpec]:
    """The prunable layers of a model in forward order, from its config alone: no weight is read.

    The experts of a block come one after the other, each with its matrices in forward order.

    Raises:
        UnsupportedModel: the model is no decoder, or does not run block by block, or a block holds a matrix that is
            neither prunable nor a router, or a parameter that is used outside of it too.
    """
    if getattr(checkpoint.config, "is_encoder_decoder", False):
        raise UnsupportedModel(f"{checkpoint.config.model_type} is an encoder-decoder model; only decoders are pruned")
    model = checkpoint.skeleton()
    prefix, blocks = find_blocks(model)
    _check_shared(model, prefix)
    _check_convolutions(blocks, prefix)
    specs: list[LayerSpec] = []
    known: dict[tuple[object, ...], list[LayerSpec]] = {}
    with _running(model):
        streamed = StreamedModel(_Blank(checkpoint, model))
        hidden = streamed.embed(torch.zeros(1, 2, dtype=torch.long))
        for index, block in enumerate(blocks):
            kind = (type(block), *((name, parameter.shape) for name, parameter in block.named_parameters()))
            if kind not in known:  # of blocks that are alike, one is run
                survey = _surveyed(streamed, block, f"{prefix}.{index}.", index, hidden)
                heads = _heads(streamed, block, f"{prefix}.{index}.", index, hidden)
                found = _block_specs(block, f"{prefix}.{index}.", index, survey)
                known[kind] = [replace(spec, heads=heads.get(spec.name, 0)) for spec in found]
            for spec in known[kind]:
                inner = spec.name.removeprefix(f"{prefix}.{spec.block}.")
                specs.append(replace(spec, name=f"{prefix}.{index}.{inner}", block=index))
    return specs


def not_pruned(checkpoint: Checkpoint, layers: list[LayerSpec]) -> list[Part]:
    """Everything but the weights of `layers`, the largest first; a tied parameter counts once."""
    model = checkpoint.skeleton()
    prefix, _ = find_blocks(model)
    prunable = {layer.parameter for layer in layers}
    sizes: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        if name not in prunable:
            label = re.sub(rf"^{re.escape(prefix)}\.\d+\.", f"{prefix}.*.", name.removesuffix(".weight"))
            if parameter.dim() < 2:
                label = {"bias": "biases", "weight": "norms"}.get(name.rpartition(".")[2], label)
            sizes[label] = sizes.get(label, 0) + parameter.numel()
    return sorted((Part(name, size) for name, size in sizes.items()), key=lambda part: -part.parameters)


@contextmanager
def _running(model: nn.Module) -> Iterator[None]:
    """The model's own code may raise what it likes on a call that it was not written for."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError, AttributeError, LookupError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UnsupportedModel(f"{type(model).__name__} does not run block by block: {first}") from error


class _Blank(Checkpoint):
    """An architecture whose parameters are all zero."""

    def __init__(self, checkpoint: Checkpoint, model: nn.Module) -> None:
        self.folder, self.device = checkpoint.folder, CPU
        self.config = checkpoint.config
        self._shapes = {name: parameter.shape for name, parameter in model.named_parameters()}

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def tensor(self, name: str) -> torch.Tensor:
        """Zeros of its shape."""
        return _zeros(self._shapes[name])


def _zeros(shape: torch.Size) -> torch.Tensor:
    """As `torch.zeros`, but takes memory only where it is written to: a whole block of them costs next to nothing."""
    return torch.from_numpy(np.zeros(shape, dtype=np.float32))


class _Survey(Products):
    """Which parameters of a block are the weights of linear products, and which of them choose between experts."""

    def __init__(self, parameters: Mapping[str, torch.Tensor]) -> None:
        super().__init__(parameters, lambda product: self.transposed.setdefault(product.parameter, product.transposed))
        self.transposed: dict[str, bool] = {}
        self.choosing: set[str] = set()
        self._made: list[tuple[torch.Tensor, str]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Follow what a product gives up to the next product: experts are chosen by what comes from a router."""
        result = super().__torch_function__(func, types, args, kwargs)
        if func in OPERANDS:
            origins = {product.parameter for product in self.products(func, args)}
        else:
            given = {id(tensor) for tensor in _tensors((*args, *(kwargs or {}).values()))}
            origins = {origin for tensor, origin in self._made if id(tensor) in given}
        if getattr(func, "__name__", "") in _CHOOSING:
            self.choosing |= origins
        self._made += [(tensor, origin) for tensor in _tensors(result) for origin in origins]
        return result


def _tensors(value: object) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [tensor for item in value for tensor in _tensors(item)] if isinstance(value, tuple | list) else []


def _surveyed(streamed: StreamedModel, block: nn.Module, prefix: str, index: int, hidden: torch.Tensor) -> _Survey:
    parameters = {prefix + name: _zeros(parameter.shape) for name, parameter in block.named_parameters()}
    survey = _Survey(parameters)
    with torch.no_grad(), survey:
        streamed.run_block(index, hidden, parameters)
    return survey


def _heads(
    streamed: StreamedModel, block: nn.Module, prefix: str, index: int, hidden: torch.Tensor
) -> Mapping[str, int]:
    """What `attention_heads` finds in a block, with random weights: with zeros, nothing depends on anything."""
    random = torch.Generator().manual_seed(0)
    parameters = {
        prefix + name: torch.empty(parameter.shape).uniform_(-0.1, 0.1, generator=random)
        for name, parameter in block.named_parameters()
    }

    def entering(given: torch.Tensor) -> dict[str, torch.Tensor]:
        seen: dict[str, torch.Tensor] = {}
        with torch.no_grad():
            streamed.run_block(index, given, parameters, lambda _: lambda one: seen.setdefault(one.layer, one.inputs))
        return seen

    first = torch.empty(hidden.shape).uniform_(-1, 1, generator=random)
    return attention_heads(entering(first), entering(changed_first_token(first)), streamed.checkpoint.config)


def _block_specs(block: nn.Module, prefix: str, index: int, survey: _Survey) -> list[LayerSpec]:
    """The prunable layers of one block in forward order.

    Raises:
        UnsupportedModel: a matrix of it is neither prunable nor a router's.
    """
    linear = {
        f"{name}.weight": module for name, module in block.named_modules() if isinstance(module, nn.Linear | Conv1D)
    }
    parameters = dict(block.named_parameters())
    order = {name.removeprefix(prefix): place for place, name in enumerate(survey.transposed)}
    numbers_of_experts = {len(parameter) for parameter in parameters.values() if parameter.dim() == 3}
    numbers_of_experts |= {len(module) for module in block.modules() if isinstance(module, nn.ModuleList)}
    specs: list[tuple[tuple[int, ...], LayerSpec]] = []
    for name, parameter in parameters.items():
        full, shape = prefix + name, list(parameter.shape)
        if name not in linear and parameter.numel() == max(shape, default=1):
            continue  # a vector, whatever its dimensions
        transposed = survey.transposed.get(full, isinstance(linear.get(name), Conv1D))
        if full in survey.choosing and shape[transposed] in numbers_of_experts:
            continue  # a router
        experts = range(shape[0]) if len(shape) == 3 and name in order else [None]
        if name not in linear and experts == [None]:
            raise UnsupportedModel(f"{full}, of shape {shape}, is in no linear layer")
        place = _place(name, order)
        if place is None:
            continue  # a linear layer that does not run
        rows, columns = shape[-2:]
        out_features, in_features = (columns, rows) if transposed else (rows, columns)
        bias = name in linear and linear[name].bias is not None
        for expert in experts:
            layer = full.removesuffix(".weight") if expert is None else f"{full}.{expert}"
            spec = LayerSpec(layer, index, out_features, in_features, transposed, bias, expert)
            specs.append(((place[0], place[1] if expert is None else expert, place[2]), spec))
    return [spec for _, spec in sorted(specs, key=lambda entry: entry[0])]


def _place(name: str, order: Mapping[str, int]) -> tuple[int, int, int] | None:
    """Where a parameter comes in forward order: that of its group, its index in the group, and its place there.

    A group is a list of modules, of which some may have had no token, or the parameters of one module. None where
    neither the parameter nor a like one in another module of its list was seen.
    """
    listed = re.match(r"(.*?)\.(\d+)\.(.*)", name)
    if listed is None:
        owner = name.rpartition(".")[0]
        group = [place for seen, place in order.items() if seen.rpartition(".")[0] == owner]
        return (min(group), 0, order[name]) if name in order else None
    pattern = re.compile(rf"{re.escape(listed[1])}\.\d+\.(.*)")
    seen = {order[other]: found[1] for other in order if (found := pattern.fullmatch(other))}
    alike = [place for place, rest in seen.items() if rest == listed[3]]
    return (min(seen), int(listed[2]), min(alike)) if alike else None


def _check_shared(model: nn.Module, prefix: str) -> None:
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    for shared in names.values():
        blocks = {re.match(rf"{re.escape(prefix)}\.\d+\.|", name)[0] for name in shared}  # type: ignore[index]
        if len(blocks) > 1:
            inner, other = sorted(shared, key=lambda name: not name.startswith(f"{prefix}."))[:2]
            raise UnsupportedModel(f"{inner} is shared with {other}, outside of its block")


def _check_convolutions(blocks: nn.ModuleList, prefix: str) -> None:
    for name, module in blocks.named_modules(prefix=prefix):
        if isinstance(module, _ConvNd):
            raise UnsupportedModel(f"{name}.weight, of shape {list(module.weight.shape)}, is in no linear layer")
