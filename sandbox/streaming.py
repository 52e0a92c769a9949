"""A causal language model run block by block, so that only one decoder block is in memory at a time.

The model's own code runs throughout: what surrounds the blocks by calling the model with its blocks bypassed, and a
block by calling it with the arguments that the model itself had passed to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from transformers.pytorch_utils import Conv1D

from sandbox.attention import attention_heads, changed_first_token
from sandbox.checkpoint import Checkpoint
from sandbox.layout import LayerSpec

BATCH_TOKENS = 512
"""Tokens that go through a block at once: enough for efficient matrix products, few enough for the cache."""

_Call = tuple[tuple[Any, ...], dict[str, Any]]


class UnsupportedModel(Exception):
    """The architecture has no list of decoder blocks, or prunable weights of a kind that is not handled."""


class StreamedModel:
    """The parts around the blocks are loaded; each block's weights are read when it runs.

    Attributes:
        blocks: number of decoder blocks.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._model = checkpoint.skeleton()
        self._prefix, self._blocks = find_blocks(self._model)
        self._decoder = self._model.get_submodule(self._prefix.rpartition(".")[0])
        checkpoint.load(self._model, skip=f"{self._prefix}.")
        self.blocks = len(self._blocks)
        self._calls: dict[torch.Size, list[_Call]] = {}
        self._returns_tuple = False
        self._probe()

    def batches(self, ids: torch.Tensor) -> Sequence[torch.Tensor]:
        """`ids` [n, seqlen] in batches of about `BATCH_TOKENS` tokens."""
        batches: tuple[torch.Tensor, ...] = ids.split(max(1, BATCH_TOKENS // ids.shape[1]))
        return batches

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """What enters block 0: [n, seqlen, hidden_size] for ids [n, seqlen]."""
        return torch.cat([self._enter(batch) for batch in self.batches(ids)])

    def run_block(
        self,
        block: int,
        hidden: torch.Tensor,
        weights: Mapping[str, torch.Tensor] | None = None,
        watch: Callable[[str, torch.Tensor], object] | None = None,
    ) -> Iterator[torch.Tensor]:
        """Yield what leaves a block, batch by batch, for what enters it, [n, seqlen, hidden_size].

        Args:
            block: its index.
            hidden: what `embed` gave, or the concatenated outputs of the block before.
            weights: full parameter names to tensors as stored, instead of the checkpoint's.
            watch: called with a linear layer's full name and its input in the order in which they run.
        """
        module, prefix = self._blocks[block], f"{self._prefix}.{block}."
        parameters = {
            name: weights[prefix + name]
            if weights is not None and prefix + name in weights
            else self.checkpoint.tensor(prefix + name)
            for name, _ in module.named_parameters()
        }
        hooks = []
        if watch is not None:
            for name, layer in linear_layers(module):
                hook = _watching(prefix + name, watch)
                hooks.append(layer.register_forward_pre_hook(hook))
        try:
            for batch in self.batches(hidden):
                args, kwargs = self._calls[batch.shape[:2]][block]
                output = functional_call(module, parameters, (batch, *args), kwargs)
                yield output[0] if isinstance(output, tuple) else output
        finally:
            for handle in hooks:
                handle.remove()

    def logits(self, ids: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """[n, seqlen, vocabulary] from what left the last block."""
        with self._bypassed(lambda *_: hidden):
            result: torch.Tensor = self._model(input_ids=ids).logits
        return result

    def _enter(self, ids: torch.Tensor) -> torch.Tensor:
        calls: list[_Call] = []
        entered: list[torch.Tensor] = []

        def record(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
            hidden: torch.Tensor = args[0] if args else kwargs.pop("hidden_states")
            calls.append((args[1:], kwargs))
            entered.append(hidden)
            return hidden

        with self._bypassed(record):
            self._decoder(input_ids=ids)
        self._calls[ids.shape] = calls
        return entered[0]

    @contextmanager
    def _bypassed(self, instead: Callable[[tuple[Any, ...], dict[str, Any]], torch.Tensor]) -> Iterator[None]:
        """While active, a call of any block gives what `instead` gives for its arguments."""

        def forward(*args: Any, **kwargs: Any) -> Any:
            hidden = instead(args, kwargs)
            return (hidden,) if self._returns_tuple else hidden

        for block in self._blocks:
            block.forward = forward
        try:
            yield
        finally:
            for block in self._blocks:
                del block.forward

    def _probe(self) -> None:
        """Learn whether the blocks return a tensor or a tuple, as architectures differ."""
        ids = torch.zeros(1, 2, dtype=torch.long)
        with self._bypassed(_stop):
            try:
                self._decoder(input_ids=ids)
            except _FirstCall as first:
                args, kwargs = first.args
        names = [name for name, _ in self._blocks[0].named_parameters()]
        parameters = {name: self.checkpoint.tensor(f"{self._prefix}.0.{name}") for name in names}
        with torch.no_grad():
            self._returns_tuple = isinstance(functional_call(self._blocks[0], parameters, args, kwargs), tuple)


class _FirstCall(Exception):
    pass


def _stop(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    raise _FirstCall(args, kwargs)


def find_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The decoder blocks, by structure: the module list that holds the most weights, and its full name.

    Raises:
        UnsupportedModel: there is none.
    """
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        raise UnsupportedModel(f"{type(model).__name__} has no list of decoder blocks")
    return max(lists, key=lambda entry: sum(parameter.numel() for parameter in entry[1].parameters()))


def linear_layers(block: nn.Module) -> list[tuple[str, nn.Module]]:
    """The linear layers of a block with their names in it."""
    return [(name, module) for name, module in block.named_modules() if isinstance(module, (nn.Linear, Conv1D))]


def check_supported(model: nn.Module) -> None:
    """See that every matrix in the blocks is the weight of a linear layer.

    Raises:
        UnsupportedModel: there are no blocks, or one holds a matrix of no linear layer (expert tensors, for one).
    """
    prefix, blocks = find_blocks(model)
    for index, block in enumerate(blocks):
        found = {name for name, _ in linear_layers(block)}
        for name, parameter in block.named_parameters():
            if parameter.dim() > 1 and name.removesuffix(".weight") not in found:
                shape = list(parameter.shape)
                raise UnsupportedModel(f"{prefix}.{index}.{name}, of shape {shape}, is in no linear layer")


def layer_specs(checkpoint: Checkpoint) -> list[LayerSpec]:
    """The prunable layers of a model in forward order.

    Raises:
        UnsupportedModel: as `check_supported`.
    """
    streamed = StreamedModel(checkpoint)
    check_supported(streamed._model)
    specs = []
    hidden = streamed.embed(torch.zeros(1, 2, dtype=torch.long))
    for index, block in enumerate(streamed._blocks):
        prefix = f"{streamed._prefix}.{index}."
        found = {prefix + name: module for name, module in linear_layers(block)}
        order: dict[str, torch.Tensor] = {}
        changed: dict[str, torch.Tensor] = {}
        with torch.no_grad():
            list(streamed.run_block(index, changed_first_token(hidden), watch=changed.setdefault))
            hidden = torch.cat(list(streamed.run_block(index, hidden, watch=order.setdefault)))
        heads = attention_heads(order, changed, checkpoint.config)
        for name in order:
            module = found[name]
            transposed = isinstance(module, Conv1D)
            shape = tuple(module.weight.shape)  # type: ignore[arg-type]
            out_features, in_features = shape[::-1] if transposed else shape
            bias = module.bias is not None
            specs.append(LayerSpec(name, index, out_features, in_features, transposed, bias, heads=heads.get(name, 0)))
    return specs


def _watching(name: str, watch: Callable[[str, torch.Tensor], object]) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
        watch(name, args[0])

    return hook
