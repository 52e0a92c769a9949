"""The pruning interface as the worker implements it; `sandbox.interface` says what each name means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch

from sandbox.checkpoint import Checkpoint
from sandbox.interface import NotApplicable
from sandbox.layout import LayerSpec, OutputFile, masked
from sandbox.statistics import InputStatistics, gradients
from sandbox.sums import Kind
from sandbox.weights import BadWeight, Weights


@dataclass(frozen=True, slots=True)
class Sparsity:
    """See `sandbox.interface.Sparsity`."""

    ratio: float
    n: int | None
    m: int | None
    structure: str | None = None


NOTES = 20
NOTE_CHARACTERS = 200
"""How many remarks of a run are kept, and how much of each."""


class PruningTask:
    """See `sandbox.interface.Task`. One round: a later one has the weights and the remarks of the one before it."""

    NotApplicable = NotApplicable

    def __init__(
        self,
        checkpoint: Checkpoint,
        layers: list[LayerSpec],
        output: OutputFile,
        calibration: torch.Tensor,
        sparsity: Sparsity,
        statistics: str,
        seed: int,
        earlier: PruningTask | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.sparsity = sparsity
        self.calibration = calibration.to(checkpoint.device)
        self.generator = torch.Generator(checkpoint.device).manual_seed(seed)
        self._checkpoint = checkpoint
        self._mode = statistics
        self._visits = 0
        self._dtype = dtype
        self._weights: Weights = earlier._weights if earlier else Weights(checkpoint, layers, output)
        self._dense = earlier is None
        self.notes: list[str] = earlier.notes if earlier else []
        self._layers = [PrunableLayer(self, index, spec) for index, spec in enumerate(layers)]
        self._gradients: dict[bool, dict[str, torch.Tensor]] = {}

    def layers(self) -> Iterator[PrunableLayer]:
        """The layers in forward order; going on to another block writes the one before.

        A new visit, which is not within another, sees all that was changed before it.
        """
        if not self._visits:
            self._weights.write()
            self._statistics.restart()
        self._visits += 1
        try:
            block = -1
            for layer in self._layers:
                if layer.block != block:
                    self._weights.write(except_block=layer.block)
                    block = layer.block
                yield layer
        finally:
            self._visits -= 1

    @property
    def model(self) -> torch.nn.Module:
        """The whole model."""
        return self._weights.model()

    @cached_property
    def _statistics(self) -> InputStatistics:
        return InputStatistics(self._checkpoint, self._weights, self.calibration, self._mode, self._dtype)

    def _input(self, layer: LayerSpec, kind: Kind) -> torch.Tensor:
        return self._statistics.of(layer, kind)

    def _gradient(self, layer: LayerSpec, squared: bool) -> torch.Tensor:
        if squared not in self._gradients:
            specs = [known._spec for known in self._layers]
            self._gradients[squared] = gradients(
                self._checkpoint, specs, self.calibration, squared, None if self._dense else self._weights
            )
        return self._gradients[squared][layer.name].clone()

    def note(self, text: str) -> None:
        """Keep a remark with the result."""
        if not isinstance(text, str):
            raise TypeError(f"a note is a text, not a {type(text).__name__}")
        if len(self.notes) < NOTES:
            self.notes.append(text[:NOTE_CHARACTERS])

    def finish(self) -> None:
        """Write all weights as they now are, and let go of them."""
        self._weights.finish()


class PrunableLayer:
    """See `sandbox.interface.Layer`."""

    def __init__(self, task: PruningTask, index: int, spec: LayerSpec) -> None:
        self.name = spec.name
        self.block = spec.block
        self.heads = spec.heads or None
        self._task = task
        self._index = index
        self._spec = spec

    def __repr__(self) -> str:
        return f"<layer {self.name} {list(self._spec.shape)}>"

    @property
    def weight(self) -> torch.Tensor:
        """[out_features, in_features]."""
        return self._task._weights.live(self._index)

    @weight.setter
    def weight(self, value: torch.Tensor) -> None:
        self._task._weights.assign(self._index, value)

    @property
    def bias(self) -> torch.Tensor | None:
        """[out_features], a copy."""
        return self._task._checkpoint.tensor(f"{self.name}.bias").clone() if self._spec.bias else None

    @property
    def inputs(self) -> torch.Tensor:
        """[n_tokens, in_features]."""
        return self._task._input(self._spec, "inputs")

    @property
    def input_norm(self) -> torch.Tensor:
        """[in_features]."""
        return self._task._input(self._spec, "norm").clone()

    @property
    def hessian(self) -> torch.Tensor:
        """[in_features, in_features]."""
        return self._task._input(self._spec, "hessian").clone()

    @property
    def grad(self) -> torch.Tensor:
        """[out_features, in_features]."""
        return self._task._gradient(self._spec, squared=False)

    @property
    def fisher(self) -> torch.Tensor:
        """[out_features, in_features]."""
        return self._task._gradient(self._spec, squared=True)

    def keep(self, mask: torch.Tensor) -> None:
        """Zero the weights where `mask` is False."""
        if tuple(mask.shape) != self._spec.shape:
            raise BadWeight(f"{self.name}: the mask has shape {list(mask.shape)}, not {list(self._spec.shape)}")
        weight = self.weight
        kept = mask.detach().to(weight.device, torch.bool)
        self.weight = masked(weight, kept) if weight.dtype == torch.float32 else torch.where(kept, weight, 0)
