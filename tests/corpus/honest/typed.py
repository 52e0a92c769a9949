"""Annotated throughout, with the interface's own types, a protocol and a type variable."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

import torch
from sandbox.interface import Layer, Task
from torch import Tensor

T = TypeVar("T")


class Saliency(Protocol):
    def __call__(self, layer: Layer, /) -> Tensor: ...


def each(items: Iterable[T], do: Callable[[T], None]) -> None:
    for item in items:
        do(item)


def prune(task: Task) -> None:
    saliency: Saliency = lambda layer: layer.weight.abs()

    def one(layer: Layer) -> None:
        ranks: Tensor = saliency(layer).argsort(dim=1).argsort(dim=1)
        layer.keep(torch.ge(ranks, int(ranks.shape[1] * task.sparsity.ratio)))

    each(task.layers(), one)
