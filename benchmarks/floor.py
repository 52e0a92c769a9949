"""The time that the matrix products of pruning and scoring must take on this machine: no program can be faster.

Counted are the linear layers of the blocks, the head, attention's two products (the causal half), the Hessians of
SparseGPT with their factorisations, and its updates across column blocks. Each product is timed here at its own shape,
with the tokens of one batch, by the function that a model would call. Left out, since it costs little or depends on how
it is written: norms, activations, softmax, sorting, reading weights, and SparseGPT's steps inside a column block.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM

from harness.targets import Target
from sandbox.layout import LayerSpec

COLUMNS = 128
"""Columns of a block in SparseGPT."""
_LEAST_SECONDS = 0.15
_REPEATS = 5


@dataclass(frozen=True)
class Product:
    """`count` products of [rows, inner] and [inner, columns], `batch` of them at once; `share` of each is needed."""

    count: float
    rows: int
    inner: int
    columns: int
    batch: int = 1
    share: float = 1.0

    @property
    def flops(self) -> float:
        """Of the whole products, whatever their share."""
        return self.count * 2 * self.batch * self.rows * self.inner * self.columns


class Floor:
    """Seconds of the products of one target, with the threads that torch has now.

    Args:
        target: its layers and its config are looked at, its weights are not.
        batch_tokens: tokens that go through a layer at once; whole windows, at least one.
        dtype: of the products; Hessians and factorisations are in float32.

    Raises:
        SystemExit: a layer is an expert: how many tokens it gets is not known.
    """

    def __init__(self, target: Target, batch_tokens: int = 512, dtype: torch.dtype = torch.float32) -> None:
        if any(layer.expert is not None for layer in target.layers):
            raise SystemExit(f"{target.name} has experts: what they must compute depends on the tokens")
        self.layers = target.layers
        self.config: Any = target.checkpoint.config
        self.batch_tokens = batch_tokens
        self.dtype = dtype
        self._seconds: dict[tuple[object, ...], float] = {}

    def forward(self, windows: int, seqlen: int, last: bool = True, blocks: int | None = None) -> list[Product]:
        """Products of one pass of `windows` windows through the blocks.

        Args:
            windows: how many.
            seqlen: tokens of each.
            last: whether the last layer of each block is needed, or only what enters it.
            blocks: how many of the blocks, from the first; all by default.
        """
        heads = self.config.num_attention_heads
        size = getattr(self.config, "head_dim", None) or self.config.hidden_size // heads
        batch, batches = self._batches(windows, seqlen)
        ends = {layer.block: layer.name for layer in self.layers}
        count = len(ends) if blocks is None else blocks
        chosen = [layer for layer in self.layers if layer.block < count and (last or layer.name != ends[layer.block])]
        products = [Product(batches, batch * seqlen, layer.in_features, layer.out_features) for layer in chosen]
        needed = (seqlen + 1) / (2 * seqlen)
        repeated, together = batches * count, heads * batch
        scores = Product(repeated, seqlen, size, seqlen, together, needed)
        return [*products, scores, Product(repeated, seqlen, seqlen, size, together, needed)]

    def scoring(self, windows: int, seqlen: int) -> list[Product]:
        """The blocks and the head, of each token."""
        batch, batches = self._batches(windows, seqlen)
        head = Product(batches, batch * seqlen, self.config.hidden_size, self.config.vocab_size)
        return [*self.forward(windows, seqlen), head]

    def pruning(self, windows: int, seqlen: int) -> list[Product]:
        """The two passes of sequential statistics: to see a block's inputs, and to give the next block its own.

        The first pass does not need the last layer's product, and the last block needs no second pass.
        """
        blocks = len({layer.block for layer in self.layers})
        second = self.forward(windows, seqlen, blocks=blocks - 1) if blocks > 1 else []
        return [*self.forward(windows, seqlen, last=False), *second]

    def hessians(self, windows: int, seqlen: int) -> list[Product]:
        """X^T X of each distinct input; of a symmetric product, torch computes both halves, and one is needed."""
        batch, batches = self._batches(windows, seqlen)
        return [Product(batches, size, batch * seqlen, size, share=(size + 1) / (2 * size)) for size in self.inputs]

    def updates(self) -> list[Product]:
        """SparseGPT's updates of the columns that are still to come, [out, 128] times [128, what is left]."""
        found = []
        for layer in self.layers:
            for left in range(layer.in_features - COLUMNS, 0, -COLUMNS):
                found.append(Product(1, layer.out_features, COLUMNS, left))
        return found

    @cached_property
    def inputs(self) -> list[int]:
        """Width of each distinct input of the layers, in forward order: layers that share one have one Hessian."""
        return distinct_inputs(self.config, self.layers)

    def seconds(self, products: list[Product], hessian: bool = False) -> float:
        """What the products take at the rates of this machine; each shape is timed once."""
        dtype = torch.float32 if hessian else self.dtype
        return sum(product.count * product.share * self._timed(product, dtype, hessian) for product in products)

    def factorisations(self) -> float:
        """Seconds of the three factorisations by which SparseGPT inverts each distinct Hessian."""
        total = 0.0
        for size in self.inputs:
            key = ("factorise", size)
            if key not in self._seconds:
                root = torch.randn(size, size)
                hessian = root @ root.t() + size * torch.eye(size)
                self._seconds[key] = best(lambda given=hessian: _inverse_factor(given))  # type: ignore[misc]
            total += self._seconds[key]
        return total

    def _batches(self, windows: int, seqlen: int) -> tuple[int, float]:
        batch = min(windows, max(1, self.batch_tokens // seqlen))
        return batch, windows / batch

    def _timed(self, product: Product, dtype: torch.dtype, hessian: bool) -> float:
        key = (product.batch, product.rows, product.inner, product.columns, dtype, hessian)
        if key not in self._seconds:
            self._seconds[key] = best(_work(product, dtype, hessian))
        return self._seconds[key]


def distinct_inputs(config: Any, layers: list[LayerSpec]) -> list[int]:
    """Width of each input that differs from the one before, by running the architecture with layers that only look.

    Its memory is reserved and, but for a few rows, never touched: the numbers in it mean nothing.
    """
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config).eval()
    model.to_empty(device="cpu")
    widths: list[int] = []
    seen: list[torch.Tensor] = []

    def looking(out_features: int) -> Callable[[torch.Tensor], torch.Tensor]:
        def forward(given: torch.Tensor) -> torch.Tensor:
            if not seen or given is not seen[0]:
                widths.append(given.shape[-1])
            seen[:] = [given]
            return given.new_zeros(*given.shape[:-1], out_features)

        return forward

    for layer in layers:
        model.get_submodule(layer.name).forward = looking(layer.out_features)
    with torch.no_grad():
        model.base_model(torch.zeros(1, 2, dtype=torch.long), use_cache=False)
    return widths


def best(work: Callable[[], object]) -> float:
    """Seconds of one call: the fastest of several rounds, since a floor is what the machine can do."""
    work()
    started = time.perf_counter()
    work()
    calls = max(1, int(_LEAST_SECONDS / _REPEATS / max(time.perf_counter() - started, 1e-7)))
    rounds = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        for _ in range(calls):
            work()
        rounds.append((time.perf_counter() - started) / calls)
    return min(rounds)


def _work(product: Product, dtype: torch.dtype, hessian: bool) -> Callable[[], object]:
    rows, inner, columns = product.rows, product.inner, product.columns
    if hessian:
        given, total = torch.randn(inner, rows), torch.zeros(rows, rows)
        return lambda: total.addmm_(given.t(), given)
    if product.batch > 1:
        left = torch.randn(product.batch, rows, inner, dtype=dtype)
        right = torch.randn(product.batch, inner, columns, dtype=dtype)
        return lambda: torch.matmul(left, right)
    tokens, weight = torch.randn(rows, inner, dtype=dtype), torch.randn(columns, inner, dtype=dtype)
    return lambda: linear(tokens, weight)


def _inverse_factor(hessian: torch.Tensor) -> torch.Tensor:
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    factor: torch.Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor
