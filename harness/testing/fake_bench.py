"""A bench without models, for tests: scores are made from names alone, faults and interruptions come as ordered."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np

from harness import metrics
from harness.records import Failure, Measurement, Pruner, Score, Sparsity, Zeros
from harness.status import Status

_WINDOWS = 12
_LAYERS = tuple(f"model.layers.{block}.{kind}" for block in range(3) for kind in ("attn.q", "attn.o", "mlp.up"))
_SAMPLE = 2048


@dataclass
class FakeLab:
    """Stands in for `harness.pipeline`: opens benches, and remembers what was asked of it.

    A pruner whose source begins with `# STATUS`, as in `# TIMEOUT`, gets that status.
    """

    errors: dict[tuple[str, str], list[BaseException]] = field(default_factory=dict)
    """By (pruner, sparsity): raised in turn instead of a score."""
    open_errors: dict[str, list[Exception]] = field(default_factory=dict)
    """By target: raised in turn instead of opening it."""
    canaries: list[Exception | None] = field(default_factory=list)
    """What each check of the canaries raises in turn; None and what is beyond the list: nothing."""
    isolation: str = "docker"
    protocol: str = "protocol-1"
    pause_seconds: float = 0.0
    shift: float = 0.0
    """Added to every loss."""
    opened: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    scored: list[tuple[str, str, str]] = field(default_factory=list)

    def open_bench(self, target: str, **options: Any) -> FakeBench:
        """As `harness.pipeline.open_bench`."""
        self.opened.append((target, options))
        if self.open_errors.get(target):
            raise self.open_errors[target].pop(0)
        return FakeBench(self, target, options)


class FakeBench:
    """As `harness.bench.Bench`."""

    def __init__(self, lab: FakeLab, target: str, options: dict[str, Any]) -> None:
        self._lab = lab
        self._options = options
        self.isolation = lab.isolation
        self.measurement = Measurement(
            target=target,
            seqlen=options.get("seqlen") or 128,
            windows=_WINDOWS,
            dtype="float32",
            statistics=str(options.get("statistics", "sequential")),
            tokenizer_sha256=None,
            weights_sha256=_digest(target),
            evaluation=str(options.get("evaluation", "bundled")),
            evaluation_sha256=_digest("evaluation"),
            calibration=str(options.get("calibration", "bundled")),
            calibration_samples=options.get("calibration_samples") or 16,
            calibration_sha256=_digest("calibration"),
            id=lab.protocol,
            rounds=options.get("rounds") or 1,
            not_pruned="1.0 k of 9.0 k parameters: embedding (1.0 k)",
            layers=_LAYERS,
        )
        self.environment = (_digest("environment"), {"harness": "of the fake bench"})
        self.dense_text = " a place of dense thought" if options.get("text") else None
        self.dense_losses = tuple(_losses(target, math.log(20.0)))
        self.dense_perplexity = metrics.perplexity(self.dense_losses)

    def check_sparsity(self, sparsity: Sparsity) -> None:
        """Every sparsity fits."""

    def check_canaries(self, *, more: bool = False) -> None:  # noqa: ARG002
        """Off where the lab has it so."""
        if self._lab.canaries and (error := self._lab.canaries.pop(0)) is not None:
            raise error

    def score(
        self,
        pruner: Pruner,
        sparsity: Sparsity,
        *,
        more: bool = False,  # noqa: ARG002
        again: bool = False,
        seeds: int = 1,  # noqa: ARG002
    ) -> Score:
        """A score that depends on the names of the pruner, target and sparsity alone."""
        target = self.measurement.target
        self._lab.scored.append((target, sparsity.label, pruner.name))
        time.sleep(self._lab.pause_seconds)
        if planned := self._lab.errors.get((pruner.name, sparsity.label)):
            raise planned.pop(0)
        status = _status(pruner)
        return fake_score(
            pruner.name,
            sparsity.label,
            author=pruner.author,
            target=target,
            status=status,
            loss=_loss(pruner.name, sparsity) + self._lab.shift,
            isolation=self.isolation,
            protocol=self.measurement.id,
            seed=int(self._options.get("seed", 0)),
            idea=pruner.idea,
            model=pruner.model,
            template=pruner.template,
            text=f" a place at {sparsity.label}" if self._options.get("text") and status is Status.OK else None,
            repeatable="random" not in pruner.name if again and status is Status.OK else None,
            zeros=fake_zeros(pruner.name, sparsity.ratio) if status is Status.OK else None,
        )


def fake_score(
    pruner: str = "magnitude",
    sparsity: str = "0.5",
    *,
    status: Status = Status.OK,
    loss: float = math.log(30.0),
    message: str = "it went wrong",
    **values: Any,
) -> Score:
    """A complete score with a mean loss near `loss`; `values` are other fields of the record.

    Of a `perplexity` in `values`, window losses are those of every other such score but for a constant.
    """
    is_ok = status is Status.OK
    given = values.get("perplexity")
    losses = tuple(_losses("any", math.log(given)) if given else _losses(pruner, loss)) if is_ok else None
    bounds = None if losses is None else metrics.interval(losses)
    record: dict[str, Any] = {
        "author": "human",
        "target": "testbed-llama",
        "error": None if is_ok else Failure(status.stage, status.value, message, line=3),
        "achieved_sparsity": Sparsity.parse(sparsity).ratio if is_ok else None,
        "perplexity": None if losses is None else metrics.perplexity(losses),
        "perplexity_low": bounds[0] if bounds else None,
        "perplexity_high": bounds[1] if bounds else None,
        "dense_perplexity": 20.0,
        "sandbox_seconds": 3.25,
        "prune_seconds": 1.5,
        "score_seconds": 0.5,
        "peak_memory_bytes": 300 << 20,
        "isolation": "docker",
        "protocol": "protocol-1",
        "seed": 0,
        "window_losses": losses,
    }
    return Score(
        pruner=pruner, sparsity=sparsity, status=status.value, outcome=status.outcome.value, **{**record, **values}
    )


def fake_pruner(name: str, status: Status = Status.OK) -> Pruner:
    """A pruner for the fake bench: a candidate when its name has a slash, else a reference."""
    candidate = "/" in name
    source = None if status.stage == "completion" else f"# {status.value}\n".encode()
    return Pruner(
        name=name,
        author="model" if candidate else "human",
        source=source,
        idea=name.split("/")[1] if candidate else None,
        model=name.partition("/")[0] if candidate else None,
        status=status if source is None else None,
    )


def fake_zeros(pruner: str, ratio: float) -> Zeros:
    """A mask that depends on the pruner's name and the ratio alone."""
    random = np.random.default_rng(int(_digest(pruner)[:8], 16))
    zero = random.random(_SAMPLE) < ratio
    fractions = ratio * (1 + 0.1 * random.standard_normal(len(_LAYERS)))
    return Zeros(tuple(fractions.clip(0, 1).tolist()), np.packbits(zero).tobytes(), _digest(f"{pruner} {ratio}"))


def _status(pruner: Pruner) -> Status:
    if pruner.status is not None:
        return pruner.status
    words = (pruner.source or b"").decode().split()
    return Status(words[1]) if len(words) > 1 and words[1] in Status.__members__ else Status.OK


def _loss(name: str, sparsity: Sparsity) -> float:
    skill = int(_digest(name)[:4], 16) / 0xFFFF
    return math.log(20.0) + sparsity.ratio**2 * (0.5 + 8 * skill) + (0.2 if sparsity.n else 0.0)


def _losses(seed: str, mean: float) -> Iterator[float]:
    digest = sha256(seed.encode()).digest()
    for byte in digest[:_WINDOWS]:
        yield mean + (byte - 127.5) / 2000


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
