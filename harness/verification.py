"""Verification: published figures measured again, where the machine and the hub allow it."""

from __future__ import annotations

import shutil
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from harness import console
from harness.bench import Bench
from harness.errors import HarnessError, ImageFault, SandboxFault
from harness.estimate import available_memory
from harness.literature import DENSE, Figure, Model
from harness.pipeline import open_bench
from harness.pruners import find
from harness.records import Score
from harness.resources import is_folder
from harness.targets import NAMED

Verdict = Literal["agrees", "differs", "not judged", "not run"]
_GIB = 1 << 30
_PROBE_SECONDS = 5
_NO_ANSWER = ("TIMEOUT", "OUT_OF_MEMORY", "RESOURCE_LIMIT")
"""Statuses that say something about this machine and its limits, and nothing about the figure."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A figure and what was measured; `reason` says why not, where `measured` is None."""

    figure: Figure
    measured: float | None
    verdict: Verdict
    reason: str | None = None
    protocol_id: str | None = None

    @property
    def difference(self) -> float | None:
        """Relative to the published figure."""
        return None if self.measured is None else self.measured / self.figure.perplexity - 1

    def to_json(self) -> dict[str, Any]:
        """The object of `--json`, as docs/records.md describes it."""
        figure = self.figure
        return {
            "model": figure.model.name,
            "target": figure.model.target,
            "method": figure.method,
            "sparsity": figure.sparsity.label,
            "measured": self.measured,
            "published": figure.perplexity,
            "difference": self.difference,
            "tolerance": figure.tolerance,
            "verdict": self.verdict,
            "reason": self.reason,
            "why": figure.why,
            "source": figure.source,
            "protocol": self.protocol_id,
        }


def verify(figures: Sequence[Figure], **options: Any) -> Iterator[Verified]:
    """Measure each figure again; one bench serves those of one model and protocol that stand together.

    Args:
        figures: what was published.
        options: `sandbox`, `runtime`, `seed`, and `timeout_seconds` and `memory_bytes` (None for the model's own), of
            `harness.pipeline.open_bench`.

    Raises:
        SandboxFault, ImageFault: no sandbox works here.
    """
    for (model, _), group in groupby(figures, key=lambda figure: (figure.model, figure.protocol)):
        those = list(group)
        try:
            bench = _opened(model, protocol_options(those[0]), options)
        except (SandboxFault, ImageFault):
            raise
        except HarnessError as error:
            yield from (Verified(figure, None, "not run", str(error)) for figure in those)
            continue
        measure = cache(lambda method, sparsity, bench=bench: _measured(bench, method, sparsity))
        for figure in those:
            console.notice(f"{figure.method} at {figure.sparsity.label} on {figure.model.name}")
            yield judged(figure, *measure(figure.method, figure.sparsity), bench.measurement.id)


def judged(figure: Figure, measured: float | None, reason: str | None, protocol_id: str | None = None) -> Verified:
    """The verdict on a measured perplexity, or on none and its reason."""
    verdict: Verdict = "not run"
    if measured is not None:
        agrees = abs(measured / figure.perplexity - 1) <= figure.tolerance
        verdict = "agrees" if agrees else "differs"
    elif reason and reason.partition(":")[0] not in _NO_ANSWER and not reason.startswith("INFRA_"):
        verdict = "differs"  # the pruner failed, where the paper's did not
    if verdict != "not run" and not figure.checked:
        verdict = "not judged"
    return Verified(figure, measured, verdict, reason, protocol_id)


def protocol_options(figure: Figure) -> dict[str, Any]:
    """The protocol of a figure as arguments of `open_bench`."""
    protocol = figure.protocol
    return {
        "evaluation": protocol.evaluation,
        "calibration": protocol.calibration,
        "calibration_samples": protocol.calibration_samples,
        "seqlen": protocol.seqlen,
    }


class _NotHere(HarnessError):
    """This machine cannot run a figure."""


def _opened(model: Model, protocol: dict[str, Any], options: dict[str, Any]) -> Bench:
    on_hub = model.target not in NAMED and not is_folder(Path(model.target))
    if on_hub and (problem := _hub_problem()):
        raise _NotHere(problem)
    if (free := available_memory()) is not None and free < model.memory_gib * _GIB:
        raise _NotHere(f"{model.memory_gib:g} GiB of memory are needed, {free / _GIB:.1f} are free")
    if on_hub and (room := shutil.disk_usage(Path.home()).free) < model.disk_gib * _GIB:
        raise _NotHere(f"{model.disk_gib:g} GiB of disk are needed, {room / _GIB:.1f} are free")
    own = {"timeout_seconds": model.timeout_seconds, "memory_bytes": int(model.memory_gib * _GIB)}
    given = {name: value for name, value in options.items() if value is not None}
    return open_bench(model.target, **protocol, **{**own, **given})


def _measured(bench: Bench, method: str, sparsity: Any) -> tuple[float | None, str | None]:
    """Perplexity, or None and why there is none."""
    try:
        if method == DENSE:
            return bench.dense_perplexity, None
        score: Score = bench.score(find(method), sparsity)
    except (SandboxFault, ImageFault):
        raise
    except HarnessError as fault:
        return None, f"{getattr(fault, 'status', 'INFRA_INPUT')}: {fault}"
    message = score.error.message if score.error else ""
    return score.perplexity, None if score.perplexity is not None else f"{score.status}: {message}"


@cache
def _hub_problem() -> str | None:
    """Why nothing can come from the hub, asked once; None where it answers."""
    from huggingface_hub import constants  # noqa: PLC0415 - only where a figure needs the hub

    if constants.HF_HUB_OFFLINE:
        return "the hub is switched off (HF_HUB_OFFLINE)"
    try:
        with urllib.request.urlopen(constants.ENDPOINT, timeout=_PROBE_SECONDS):  # noqa: S310 - of the library, not of a user
            return None
    except (OSError, ValueError):
        return "the hub cannot be reached"
