"""Watching a block run: which parameter each linear product uses as its weight, and what enters it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

OPERANDS: dict[Any, tuple[int, int]] = {
    linear: (0, 1),
    torch.addmm: (1, 2),
    torch.matmul: (0, 1),
    torch.Tensor.matmul: (0, 1),
    torch.Tensor.__matmul__: (0, 1),
    torch.mm: (0, 1),
    torch.bmm: (0, 1),
}
"""Places of the input and of the weight among the arguments; `linear` alone takes the weight as [out, in]."""


@dataclass(frozen=True, slots=True)
class Product:
    """One linear product with a parameter, or a part of one, as its weight."""

    parameter: str
    """Name under which it is watched."""
    expert: int | None
    """Index of the matrix in the first dimension of a parameter of three; None where the parameter is a matrix."""
    inputs: torch.Tensor
    """[..., in]."""
    transposed: bool
    """The parameter holds the matrix as [in, out]."""

    @property
    def layer(self) -> str:
        """Name of the layer whose weights these are, as in `sandbox.layout.LayerSpec`."""
        return self.parameter.removesuffix(".weight") if self.expert is None else f"{self.parameter}.{self.expert}"


class Products(TorchFunctionMode):
    """While active, calls `seen` before each product whose weight lies in one of `parameters`.

    A weight is known by where it lies in memory, whatever name and whatever view the model's code has of it. A batched
    product with a parameter of three dimensions counts as one product for each of its matrices.
    """

    def __init__(self, parameters: Mapping[str, torch.Tensor], seen: Callable[[Product], object]) -> None:
        super().__init__()
        self._seen = seen
        self._matrices: dict[int, tuple[str, int | None, torch.Tensor]] = {}
        self._stacks: dict[int, torch.Tensor] = {}
        for name, tensor in parameters.items():
            if tensor.dim() == 2:
                self._matrices[tensor.data_ptr()] = (name, None, tensor)
            elif tensor.dim() == 3:
                self._stacks[tensor.data_ptr()] = tensor
                for expert, matrix in enumerate(tensor.unbind()):
                    self._matrices[matrix.data_ptr()] = (name, expert, matrix)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Report the product, then let it happen."""
        for product in self.products(func, args):
            self._seen(product)
        return func(*args, **(kwargs or {}))

    def products(self, func: Any, args: tuple[Any, ...]) -> list[Product]:
        """The products of the watched parameters that a call makes: none, one, or one for each expert."""
        places = OPERANDS.get(func)
        if places is None or len(args) <= places[1]:
            return []
        inputs, weight = (args[place] for place in places)
        if not isinstance(inputs, torch.Tensor) or not isinstance(weight, torch.Tensor):
            return []
        if weight.dim() == inputs.dim() == 3 and weight.data_ptr() in self._stacks:
            stack = self._stacks[weight.data_ptr()]
            if weight.shape[0] != stack.shape[0] or weight.stride(0) != stack.stride(0):
                return []
            operands = list(zip(inputs, weight, strict=True))
        elif weight.dim() == 2:
            operands = [(inputs, weight)]
        else:
            return []
        products = []
        for given, used in operands:
            name, expert, matrix = self._matrices.get(used.data_ptr(), ("", None, used[:0]))
            out_in = used if func is linear else used.t()
            if _is_view(out_in, matrix) or _is_view(out_in.t(), matrix):
                products.append(Product(name, expert, given, transposed=not _is_view(out_in, matrix)))
        return products


def _is_view(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two matrices that begin at the same place in memory are the same; strides of single rows say nothing."""
    strides = zip(one.shape, one.stride(), other.stride(), strict=True)
    return one.shape == other.shape and all(a == b for size, a, b in strides if size > 1)
