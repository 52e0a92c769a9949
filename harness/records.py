"""The records that flow from stage to stage; frozen, plain, and free of heavy imports."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from harness.errors import UsageError
from harness.status import Status

Author = Literal["human", "model"]
Structure = Literal["rows", "columns", "heads"]

SOURCE_BYTES = 1 << 20
"""The largest source of a pruner that is run."""

EXTRAS = ("kl_divergence", "text", "repeatable")
"""What a score holds only where it was asked for."""


@dataclass(frozen=True, slots=True)
class Sparsity:
    """How much to prune: a ratio, n weights kept of each m consecutive ones in a row, or a ratio of whole structures.

    `ratio` is the fraction of zeros, in [0, 1); with a pattern it is 1 - n/m, with a structure the fraction of its
    rows, columns or attention heads.
    """

    ratio: float
    n: int | None = None
    m: int | None = None
    structure: Structure | None = None

    @classmethod
    def parse(cls, text: str) -> Sparsity:
        """Read `0.5`, `2:4`, or `rows:0.5` (also `columns:` and `heads:`).

        Raises:
            UsageError: it is neither a ratio in [0, 1), alone or of a structure, nor n:m with 0 < n < m.
        """
        kind, colon, rest = text.strip().partition(":")
        if colon and kind in get_args(Structure):
            return replace(cls._of_ratio(rest, text), structure=kind)  # type: ignore[arg-type]
        if pattern := re.fullmatch(r"(\d{1,4}):(\d{1,4})", text.strip()):
            n, m = int(pattern[1]), int(pattern[2])
            if not 0 < n < m:
                raise UsageError(f"sparsity {text!r}: of n:m, n weights are kept of each m, so 0 < n < m, as in 2:4")
            return cls(1 - n / m, n, m)
        return cls._of_ratio(text, text)

    @classmethod
    def _of_ratio(cls, number: str, text: str) -> Sparsity:
        try:
            ratio = float(number)
        except ValueError:
            forms = "a ratio such as 0.5, a pattern such as 2:4, or a structure such as rows:0.5 (or columns, heads)"
            raise UsageError(f"sparsity {text!r}: give {forms}") from None
        if not 0 <= ratio < 1:
            raise UsageError(f"sparsity {text!r}: a ratio is the fraction of zeros, at least 0 and below 1")
        return cls(abs(ratio))  # -0.0 is 0, and is labelled so

    @property
    def label(self) -> str:
        """`0.5`, `2:4` or `rows:0.5`; two sparsities never share one, and `parse` gives the sparsity back."""
        if self.n is not None:
            return f"{self.n}:{self.m}"
        short = f"{self.ratio:g}"
        exact = short if float(short) == self.ratio else repr(self.ratio)
        return exact if self.structure is None else f"{self.structure}:{exact}"


@dataclass(frozen=True, slots=True)
class Idea:
    """A named pruning idea; `number` is its row in the paper's Table 4, where it has one."""

    slug: str
    title: str
    description: str
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the generator is asked."""

    idea: Idea
    text: str
    template: str
    template_sha256: str


@dataclass(frozen=True, slots=True)
class Completion:
    """What the generator answered, with the raw request and response."""

    model: str
    text: str
    finish_reason: str | None
    refusal: str | None
    request: dict[str, Any]
    response: dict[str, Any]
    latency_seconds: float
    created: str
    """UTC, ISO 8601."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One HTTP request to an endpoint and what came back, as it came."""

    request: dict[str, Any]
    """`method`, `url` and `body`; no headers, so no key."""
    status: int
    headers: dict[str, str]
    """Those that say something of the answer, in lower case."""
    content: bytes
    seconds: float
    created: str
    """When the request was sent: UTC, ISO 8601."""


class Recorder(Protocol):
    """What keeps the exchanges with an endpoint."""

    def sent(self, request: dict[str, Any]) -> None:
        """A request is about to be sent."""
        ...

    def received(self, exchange: Exchange) -> None:
        """Its answer is here, and nothing of it was read."""
        ...


@dataclass(frozen=True, slots=True)
class Pruner:
    """One Python file with `prune(task)`, by a person (a reference) or by a model (a candidate).

    `source` is None where there is no code to run; then `status` says why.
    """

    name: str
    author: Author
    source: bytes | None
    path: Path | None = None
    idea: str | None = None
    model: str | None = None
    template: str | None = None
    """The name of the template that a candidate was asked for with."""
    status: Status | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one sandbox run may use."""

    timeout_seconds: float = 900.0
    memory_bytes: int = 4 << 30
    processes: int = 64
    threads: int = 2
    device: str = "cpu"
    """`cuda` where the process is to see the first GPU, too."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One file or folder of the host, shown inside the sandbox; read-only unless `writable` (a single file)."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Execution:
    """What the host saw of one sandboxed process, and nothing that the process said."""

    exit_code: int | None
    """Exit code of the process; None when it was killed by a signal or by the deadline."""
    signal: int | None
    """The signal that ended it, if one did and it was not the deadline's."""
    timed_out: bool
    out_of_memory: bool
    """The kernel killed it, or a child of it, for exceeding the memory limit. Never True where it can't be seen."""
    wall_seconds: float
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    contended: bool = False
    """At the deadline, other work had kept it from the processors for most of the time in which it could have used
    them. Never True where it can't be seen."""


class Sandbox(Protocol):
    """One level of isolation. Two are implemented, and one contract suite runs on both."""

    isolation: str
    """`docker`, `docker:runsc` or `bubblewrap`; stands in every score."""
    waits: bool
    """Whether `warm` starts anything."""

    def execute(self, mounts: list[Mount], limits: Limits, file_bytes: int) -> Execution:
        """Run `python -m sandbox.worker /job/job.json` with nothing but `mounts`, and wait for its end.

        Args:
            mounts: everything of the host that is visible inside, besides the interpreter and its libraries.
            limits: time, memory, processes.
            file_bytes: the largest file that the process may write.

        Raises:
            SandboxFault, ImageFault: the sandbox itself failed; says nothing about the program inside.
        """
        ...

    def warm(self, mounts: list[Mount], limits: Limits, file_bytes: int) -> None:
        """Start what the next `execute` with just these arguments will need, where the level `waits`; returns at once.

        The program then waits, its libraries loaded, until the file mounted at `sandbox.waiting.GO` is no longer
        empty. Whatever fails here, `execute` meets again and reports.
        """
        ...

    def cool(self) -> None:
        """End what `warm` started and nothing has used."""
        ...


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a pruner has no score. Every text is length-limited; escape it where it is shown."""

    stage: str
    type: str
    message: str
    line: int | None = None
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """The measurement protocol. Numbers with different `id`s are never ranked together."""

    target: str
    seqlen: int
    windows: int
    dtype: str
    statistics: str
    tokenizer_sha256: str | None
    weights_sha256: str
    evaluation: str
    evaluation_sha256: str
    calibration: str
    calibration_samples: int
    calibration_sha256: str
    id: str
    not_pruned: str = ""
    """What of the target stays dense, in words; empty in results of earlier versions."""
    rounds: int = 1
    """In how many rounds of rising sparsity a pruner was called. Part of `id` where it is not 1."""
    device: str = "cpu"
    """What computed: `cpu` or `cuda`. Part of `id` where it is not the CPU."""
    dense_text: str | None = None
    """How the dense model goes on from a study's prompt, where it has one. No part of `id`."""
    layers: tuple[str, ...] = ()
    """Names of the prunable layers in forward order; empty in results of earlier versions."""


@dataclass(frozen=True, slots=True)
class Zeros:
    """Where the zeros of a pruned model are; filed beside its score."""

    fractions: tuple[float, ...]
    """Of each prunable layer, in forward order."""
    sample: bytes
    """Of a sample of the weights, which are zero: packed bits, as `harness.overlap` draws and compares them."""
    sha256: str
    """Of all zeros: the packed bits of each layer [out, in], in forward order."""


@dataclass(frozen=True, slots=True)
class Score:
    """The record of one pruner at one sparsity. `None` means not measured."""

    pruner: str
    author: Author
    target: str
    sparsity: str
    status: str
    """A `Status`, or the `INFRA_*` of a fault."""
    outcome: str | None
    error: Failure | None
    achieved_sparsity: float | None
    perplexity: float | None
    perplexity_low: float | None
    perplexity_high: float | None
    dense_perplexity: float | None
    sandbox_seconds: float | None
    prune_seconds: float | None
    score_seconds: float | None
    peak_memory_bytes: int | None
    isolation: str
    protocol: str
    seed: int
    uniform: bool = True
    weights_changed: bool = False
    quarantined: bool = False
    idea: str | None = None
    model: str | None = None
    template: str | None = None
    notes: tuple[str, ...] = ()
    """Remarks of the pruner, as it made them; a text of a candidate like any other."""
    window_losses: tuple[float, ...] | None = field(default=None, repr=False)
    kl_divergence: float | None = None
    """Mean KL(dense || pruned) over the evaluation's predictions, in nats."""
    text: str | None = None
    """How the pruned model goes on from the prompt."""
    repeatable: bool | None = None
    """Whether a second run with the same seed gave the same weights, bit for bit; None where none was made."""
    seed_perplexities: tuple[float, ...] = ()
    """With each seed, where a pruner drew random numbers and ran with several; then `perplexity` is their geometric
    mean, and window losses are means over the seeds."""
    zeros: Zeros | None = field(default=None, repr=False)
    """Only as it was measured: a score that was filed has none, see `harness.store.Store.zeros`."""

    def to_json(self, extras: Collection[str] = ()) -> dict[str, Any]:
        """The object of `--json`, as docs/records.md describes it; of `EXTRAS`, those named in `extras`."""
        error = self.error
        if self.quarantined:
            below = "perplexity implausibly below the dense model's: look at the pruner before you believe it"
            error = Failure("score", "QUARANTINED", below)
        return {
            "pruner": self.pruner,
            "author": self.author,
            "target": self.target,
            "sparsity": self.sparsity,
            "status": self.status,
            "outcome": self.outcome,
            "error": None
            if error is None
            else {
                "stage": error.stage,
                "type": error.type,
                "message": error.message,
                "line": error.line,
                "traceback": error.traceback,
            },
            "achieved_sparsity": self.achieved_sparsity,
            "perplexity": self.perplexity,
            "perplexity_low": self.perplexity_low,
            "perplexity_high": self.perplexity_high,
            "dense_perplexity": self.dense_perplexity,
            "seconds": {
                "sandbox": self.sandbox_seconds,
                "prune": self.prune_seconds,
                "score": self.score_seconds,
            },
            "peak_memory_bytes": self.peak_memory_bytes,
            "isolation": self.isolation,
            "protocol": self.protocol,
            "seed": self.seed,
        } | {name: getattr(self, name) for name in EXTRAS if name in extras}
