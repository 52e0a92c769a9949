"""A causal language model run block by block, so that only one decoder block is in memory at a time.

The model's own code runs throughout: what surrounds the blocks by calling the model with its blocks bypassed, and a
block by calling it with the arguments that the model itself had passed to it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from sandbox.checkpoint import Checkpoint
from sandbox.lanes import in_lanes
from sandbox.products import Product, Products

BATCH_TOKENS = 512
"""Tokens that go through a block at once: enough for efficient matrix products, few enough for the cache."""
DEVICE_BATCH_TOKENS = 8192
"""The same on a device that is not the CPU: enough to keep it busy."""
SMALL_BLOCK = 32_000_000
"""Parameters up to which batches run side by side; those of a larger block keep all cores busy one by one."""

_Call = tuple[tuple[Any, ...], dict[str, Any]]
_Instead = Callable[[tuple[Any, ...], dict[str, Any]], torch.Tensor]
Watch = Callable[[int], Callable[[Product], object]]
"""For the index of a lane, at the start of each batch in it: what is called with each linear product of the batch."""


class UnsupportedModel(Exception):
    """The architecture has no list of decoder blocks, or prunable weights of a kind that is not handled."""


class Enough(Exception):
    """Raised by what watches a block: the rest of the batch need not be computed."""


class StreamedModel:
    """The parts around the blocks are loaded when they are needed; each block's weights are read when it runs.

    It computes on the checkpoint's device. What enters and leaves the blocks stays in the CPU's memory, and each batch
    of it visits the device, so that this holds one block at a time, too.

    Attributes:
        blocks: number of decoder blocks.
        lanes: how many batches run side by side.
    """

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> None:
        """Read the architecture; `dtype` is what the model computes in."""
        self.checkpoint = checkpoint
        self.device = checkpoint.device
        self.dtype = dtype
        self._model = checkpoint.skeleton(dtype)
        self._prefix, self._blocks = find_blocks(self._model)
        decoder = self._prefix.rpartition(".")[0]
        self._decoder = self._model.get_submodule(decoder)
        self._decoder_prefix = f"{decoder}." if decoder else ""
        self.blocks = len(self._blocks)
        size = max(sum(parameter.numel() for parameter in block.parameters()) for block in self._blocks)
        on_cpu = self.device.type == "cpu"
        self.lanes = torch.get_num_threads() if on_cpu and size <= SMALL_BLOCK else 1
        self._batch_tokens = BATCH_TOKENS if on_cpu else DEVICE_BATCH_TOKENS
        self._calls: dict[torch.Size, list[_Call]] = {}
        self._has_head = False
        self._loading = threading.Lock()
        self._bypass = _Bypass()
        for block in self._blocks:
            block.forward = self._bypass.around(block)

    def batches(self, count: int, seqlen: int) -> list[slice]:
        """The batches, of about `BATCH_TOKENS` tokens, of `count` sequences."""
        size = max(1, self._batch_tokens // seqlen)
        return [slice(start, min(start + size, count)) for start in range(0, count, size)]

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """What enters block 0: [n, seqlen, hidden_size] for ids [n, seqlen], both in the CPU's memory."""
        around = f"{self._prefix}."
        if not self._has_head:
            self._load(lambda name: name.startswith(self._decoder_prefix) and not name.startswith(around))
        self._probe()
        hidden = torch.empty(0)
        for batch in self.batches(*ids.shape):
            entered = self._enter(ids[batch].to(self.device)).cpu()
            if hidden.numel() == 0:  # now that its width is known; joining all batches would hold them twice
                hidden = torch.empty(len(ids), *entered.shape[1:], dtype=entered.dtype, device=entered.device)
            hidden[batch] = entered
        return hidden

    def run_block(
        self,
        block: int,
        hidden: torch.Tensor,
        weights: Mapping[str, torch.Tensor] | None = None,
        watch: Watch | None = None,
        in_place: bool = False,
    ) -> torch.Tensor:
        """What leaves a block, [n, seqlen, hidden_size], for what enters it, of the same shape.

        Args:
            block: its index.
            hidden: what `embed` gave, or the output of the block before.
            weights: full parameter names to tensors as stored, instead of the checkpoint's.
            watch: told of each linear product with one of the block's parameters before it is computed, in forward
                order; of an expert's only where a token of the batch goes to it. If it raises `Enough`, the output of
                that batch is not computed, and undefined.
            in_place: write it over `hidden`.
        """
        module, parameters = self._blocks[block], self._parameters(block, weights)
        watched = {f"{self._prefix}.{block}.{name}": tensor for name, tensor in parameters.items()}
        batches = self.batches(*hidden.shape[:2])
        left = hidden if in_place else torch.empty_like(hidden)

        def run(lane: int, item: int) -> None:
            batch = hidden[batches[item]].to(self.device)
            args, kwargs = self._calls[batch.shape[:2]][block]
            try:
                with nullcontext() if watch is None else Products(watched, watch(lane)):
                    output = module(batch, *args, **kwargs)
            except Enough:
                return
            left[batches[item]] = (output[0] if isinstance(output, tuple) else output).cpu()

        with _installed(module, parameters):
            in_lanes(self.lanes, len(batches), run)
        return left

    def logits(self, ids: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """[n, seqlen, vocabulary] on the device, from ids [n, seqlen] and what left the last block.

        It may be called from several threads at once.
        """
        with self._loading:
            if not self._has_head:
                self._load(lambda name: not name.startswith(f"{self._prefix}."))
                self._has_head = True
        there = hidden.to(self.device)
        with self._bypass.active(lambda *_: there):
            result: torch.Tensor = self._model(input_ids=ids.to(self.device)).logits
        return result

    def _enter(self, ids: torch.Tensor) -> torch.Tensor:
        calls: list[_Call] = []
        entered: list[torch.Tensor] = []

        def record(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
            hidden: torch.Tensor = args[0] if args else kwargs.pop("hidden_states")
            calls.append((args[1:], kwargs))
            entered.append(hidden)
            return hidden

        with self._bypass.active(record):
            self._decoder(input_ids=ids)
        self._calls[ids.shape] = calls
        return entered[0]

    def _probe(self) -> None:
        """Learn whether the blocks return a tensor or a tuple, as architectures differ."""
        with self._bypass.active(_stop):
            try:
                self._decoder(input_ids=torch.zeros(1, 2, dtype=torch.long, device=self.device))
            except _FirstCall as first:
                args, kwargs = first.args
        with torch.no_grad(), _installed(self._blocks[0], self._parameters(0, None)):
            self._bypass.returns_tuple = isinstance(self._blocks[0](*args, **kwargs), tuple)

    def _parameters(self, block: int, weights: Mapping[str, torch.Tensor] | None) -> dict[str, torch.Tensor]:
        """A block's parameters by their names in it: those of `weights`, else the checkpoint's."""
        prefix = f"{self._prefix}.{block}."
        parameters = {}
        for name, _ in self._blocks[block].named_parameters():
            given = None if weights is None else weights.get(prefix + name)
            tensor = self.checkpoint.tensor(prefix + name) if given is None else given.to(self.device)
            parameters[name] = tensor.to(self.dtype)
        return parameters

    def _load(self, wanted: Callable[[str], bool]) -> None:
        self.checkpoint.load(self._model, wanted)
        if self.dtype != torch.float32:
            for name, parameter in self._model.named_parameters():
                if wanted(name):
                    parameter.data = parameter.data.to(self.dtype)


class _Bypass:
    """Lets the model run without its blocks, in the threads that ask for it.

    Attributes:
        returns_tuple: whether the blocks return a tuple and not a tensor.
    """

    def __init__(self) -> None:
        self.returns_tuple = False
        self._thread = threading.local()

    def around(self, block: nn.Module) -> Callable[..., Any]:
        """A block's `forward`, which does as `active` says in a thread where that is so."""
        itself = weakref.ref(block)  # no cycle: a model that is done with is freed at once

        def forward(*args: Any, **kwargs: Any) -> Any:
            instead: _Instead | None = getattr(self._thread, "instead", None)
            if instead is None:
                own: Any = itself()
                return type(own).forward(own, *args, **kwargs)
            hidden = instead(args, kwargs)
            return (hidden,) if self.returns_tuple else hidden

        return forward

    @contextmanager
    def active(self, instead: _Instead) -> Iterator[None]:
        """While active, a call of any block in this thread gives what `instead` gives for its arguments."""
        self._thread.instead = instead
        try:
            yield
        finally:
            del self._thread.instead


class _FirstCall(Exception):
    pass


def _stop(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    raise _FirstCall(args, kwargs)


@contextmanager
def _installed(module: nn.Module, parameters: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """While active, a module has `parameters` (by name; what shares one goes on sharing it) in the place of its own."""
    own = {id(parameter): parameters[name] for name, parameter in module.named_parameters()}
    places = [
        (part, leaf, parameter)
        for part in module.modules()
        for leaf, parameter in part._parameters.items()
        if parameter is not None
    ]
    for part, leaf, parameter in places:
        part._parameters[leaf] = own[id(parameter)]  # type: ignore[assignment]
    try:
        yield
    finally:
        for part, leaf, parameter in places:
            part._parameters[leaf] = parameter


def find_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The decoder blocks, by structure: the module list that holds the most weights, and its full name.

    Raises:
        UnsupportedModel: there is none.
    """
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        raise UnsupportedModel(f"{type(model).__name__} has no list of decoder blocks")
    return max(lists, key=lambda entry: sum(parameter.numel() for parameter in entry[1].parameters()))
