"""A causal language model run block by block, so that only one decoder block is in memory at a time.

The model's own code runs throughout: what surrounds the blocks by calling the model with its blocks bypassed, and a
block by calling it with the arguments that the model itself had passed to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from sandbox.checkpoint import Checkpoint
from sandbox.products import Product, Products

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
        watch: Callable[[Product], object] | None = None,
    ) -> Iterator[torch.Tensor]:
        """Yield what leaves a block, batch by batch, for what enters it, [n, seqlen, hidden_size].

        Args:
            block: its index.
            hidden: what `embed` gave, or the concatenated outputs of the block before.
            weights: full parameter names to tensors as stored, instead of the checkpoint's.
            watch: called before each linear product with one of the block's parameters, in the order in which they run;
                for an expert only where a token of the batch goes to it.
        """
        module, prefix = self._blocks[block], f"{self._prefix}.{block}."
        parameters = {
            name: weights[prefix + name]
            if weights is not None and prefix + name in weights
            else self.checkpoint.tensor(prefix + name)
            for name, _ in module.named_parameters()
        }
        full_names = {prefix + name: tensor for name, tensor in parameters.items()}
        watching = nullcontext() if watch is None else Products(full_names, watch)
        for batch in self.batches(hidden):
            args, kwargs = self._calls[batch.shape[:2]][block]
            with watching:
                output = functional_call(module, parameters, (batch, *args), kwargs)
            yield output[0] if isinstance(output, tuple) else output

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
