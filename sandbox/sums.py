"""Sums over what enters the layers of a block, one set for each lane, and their totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Literal

import torch

from sandbox.products import Product
from sandbox.streaming import Enough

Kind = Literal["norm", "hessian", "inputs"]
_Use = tuple[str, int]
"""A layer's name, and how often it had run before in the same batch."""
_GRAM_COLUMNS = 384
"""Columns of a Gram matrix that are computed at once, and not below the diagonal."""


class Sums:
    """What one lane has seen. Layers that are given the same tensor share one sum.

    Attributes:
        parts: for each layer, the uses whose sums add up to its own.
        summed: for each use, the sum of squares [in], or the Gram matrix [in, in] (only its upper blocks are right).
        pieces: for each use, the inputs [n, in] with the number of the batch in this lane.
    """

    def __init__(self, kind: Kind, names: Collection[str], cut: bool) -> None:
        """Sum for the layers `names`; with `cut`, batches end with the last input, once it is known which that is."""
        self.parts: dict[str, dict[_Use, None]] = {}
        self.summed: dict[_Use, torch.Tensor] = {}
        self.pieces: dict[_Use, list[tuple[int, torch.Tensor]]] = {}
        self._kind = kind
        self._names = names
        self._cut = cut
        self._last: _Use | None = None
        self._batch = -1
        self._runs: Counter[str] = Counter()
        self._now: _Use | None = None
        self._before: tuple[_Use, torch.Tensor, int] | None = None

    def batch(self) -> Callable[[Product], None]:
        """Begin a batch: what must see each of its linear products."""
        self._batch += 1
        self._last = self._now if self._cut else None
        self._runs.clear()
        self._before = None
        return self._see

    def _see(self, product: Product) -> None:
        name, given = product.layer, product.inputs
        if name not in self._names:
            return
        self._now = (name, self._runs[name])
        self._runs[name] += 1
        if self._before is not None and _is_same(given, *self._before[1:]):
            use = self._before[0]
        else:
            use = self._now
            self._before = (use, given, given._version)
            self._add(use, given.reshape(-1, given.shape[-1]).float())
        self.parts.setdefault(name, {})[use] = None
        if self._now == self._last:
            raise Enough

    def _add(self, use: _Use, tokens: torch.Tensor) -> None:
        """Add tokens [n, in]."""
        if self._kind == "inputs":
            self.pieces.setdefault(use, []).append((self._batch, tokens.clone()))
            return
        width = tokens.shape[1]
        if use not in self.summed:
            self.summed[use] = tokens.new_zeros((width,) if self._kind == "norm" else (width, width))
        total = self.summed[use]
        if self._kind == "norm":
            total += tokens.square().sum(dim=0)
            return
        columns = _GRAM_COLUMNS if tokens.device.type == "cpu" else width
        for start in range(0, width, columns):
            stop = min(start + columns, width)
            total[:stop, start:stop].addmm_(tokens[:, :stop].t(), tokens[:, start:stop])


def totals(kind: Kind, lanes: Sequence[Sums], tokens: int) -> dict[str, torch.Tensor]:
    """Each layer's L2 norms [in], Hessian [in, in] or inputs [n, in], over all lanes and `tokens` calibration tokens.

    Layers with the same inputs share one tensor.
    """
    parts: dict[str, dict[_Use, None]] = {}
    for lane in lanes:
        for name, uses in lane.parts.items():
            parts.setdefault(name, {}).update(uses)
    results: dict[tuple[_Use, ...], torch.Tensor] = {}
    for uses in parts.values():
        if tuple(uses) not in results:
            results[tuple(uses)] = _total(kind, lanes, list(uses), tokens)
    return {name: results[tuple(uses)] for name, uses in parts.items()}


def _total(kind: Kind, lanes: Sequence[Sums], uses: Sequence[_Use], tokens: int) -> torch.Tensor:
    if kind == "inputs":
        turns = [
            (batch, number, piece)
            for use in uses
            for number, lane in enumerate(lanes)
            for batch, piece in lane.pieces.get(use, [])
        ]
        return torch.cat([piece for _, _, piece in sorted(turns, key=lambda turn: turn[:2])])
    sums = [lane.summed[use] for use in uses for lane in lanes if use in lane.summed]
    total = sums[0] if len(uses) == 1 else sums[0].clone()
    for other in sums[1:]:
        total += other
    if kind == "norm":
        return total.sqrt()
    for start in range(_GRAM_COLUMNS, len(total), _GRAM_COLUMNS):
        stop = start + _GRAM_COLUMNS
        total[start:stop, :start] = total[:start, start:stop].t()
    return total.div_(tokens)


def _is_same(given: torch.Tensor, other: torch.Tensor, version: int) -> bool:
    """Whether a layer is given what another was given, perhaps in another view, and not changed since."""
    same_memory = given.data_ptr() == other.data_ptr() and given.is_contiguous() and other.is_contiguous()
    same_shape = given.shape[-1] == other.shape[-1] and given.numel() == other.numel()
    return given._version == version and (given is other or (same_memory and same_shape and given.numel() > 0))
