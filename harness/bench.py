"""From a pruner to its score: sandbox, check, measure. One `Bench` is one target under one protocol."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from harness import canary, console, metrics, provenance
from harness.dense_statistics import known_statistics
from harness.devices import arithmetic
from harness.errors import ScorerFault, UsageError
from harness.protocol import measurement, remembered
from harness.records import Failure, Limits, Measurement, Pruner, Sandbox, Score, Sparsity
from harness.schedule import schedule
from harness.seeds import of_seed, over_seeds
from harness.stages.continuation import TextPrompt, continued
from harness.stages.pruned_weights import PrunedWeights
from harness.stages.sandbox_run import Job, SandboxRuns
from harness.stages.score import Measured, measure, window_losses
from harness.status import Status
from harness.targets import Target
from harness.text import Windows
from sandbox.checkpoint import Checkpoint


@dataclass(frozen=True)
class Bench:
    """Scores pruners on one target with one calibration, one evaluation, one sandbox and one set of limits.

    `kl` and `prompt` ask for more than perplexity: the divergence from the dense model, and a continuation.
    """

    target: Target
    calibration: Windows
    evaluation: Windows
    statistics: str
    sandbox: Sandbox
    limits: Limits
    seed: int
    kl: bool = False
    prompt: TextPrompt | None = None
    rounds: int = 1
    dtype: str = "float32"
    device: str = "cpu"
    begun: SandboxRuns | None = None
    """Where what the first run needs has been started; of `sandbox` and `limits`, or it is of no use."""

    @property
    def extras(self) -> tuple[str, ...]:
        """Which of `harness.records.EXTRAS` are measured."""
        return ("kl_divergence",) * self.kl + ("text",) * (self.prompt is not None)

    @property
    def _torch_dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        """The dense weights on the device that computes."""
        return Checkpoint(self.target.folder, torch.device(self.device))

    @cached_property
    def _runs(self) -> SandboxRuns:
        begun = self.begun
        is_ours = begun is not None and begun.sandbox is self.sandbox and begun.limits == self.limits
        return begun if begun is not None and is_ours else SandboxRuns(self.sandbox, self.limits)

    @property
    def isolation(self) -> str:
        """The level at which pruners run."""
        return self.sandbox.isolation

    @cached_property
    def measurement(self) -> Measurement:
        """The protocol; its id is a hash of everything that decides a number, but the target's weights."""
        facts = (self.target, self.calibration, self.evaluation)
        return measurement(*facts, self.statistics, self.dtype, self.rounds, self.device)

    @cached_property
    def environment(self) -> tuple[str, provenance.Environment]:
        """What it measures with, and the id of that."""
        record = provenance.environment(self.isolation, self.device)
        return provenance.identity(record), record

    @cached_property
    def dense_losses(self) -> list[float]:
        """Window losses of the unpruned model, in nats; measured once and cached by weights, text and torch."""
        facts = (self.target.weights_sha256, self.evaluation.sha256, self.dtype, arithmetic(self._checkpoint.device))
        return remembered(facts, self._dense_now)

    def _dense_now(self) -> list[float]:
        if self.kl:  # the same pass gives the states that a divergence needs
            losses = self._dense.losses
        else:
            what = f"scoring dense {self.target.name}"
            losses = window_losses(self._checkpoint, self.evaluation.ids, None, what, self._torch_dtype)
        if not math.isfinite(metrics.perplexity(losses)):
            raise ScorerFault(f"{self.target.name} has no finite perplexity before pruning; check its weights")
        return losses

    @property
    def dense_perplexity(self) -> float:
        """Of the unpruned model."""
        return metrics.perplexity(self.dense_losses)

    @cached_property
    def _dense(self) -> Measured:
        """The dense model's pass over the evaluation; held, since every divergence needs its states."""
        what = f"scoring dense {self.target.name}"
        return measure(self._checkpoint, self.evaluation.ids, None, what, dtype=self._torch_dtype)

    @cached_property
    def dense_text(self) -> str | None:
        """How the unpruned model goes on from the prompt; None where there is none."""
        return None if self.prompt is None else continued(self.target, self.prompt)

    def check_sparsity(self, sparsity: Sparsity) -> None:
        """See that the target has what the sparsity is about.

        Raises:
            UsageError: heads are to be pruned, and no layer is known to take any; or too few structures to prune one.
        """
        if sparsity.structure == "heads" and not any(layer.heads for layer in self.target.layers):
            what = "no layer that takes the outputs of whole attention heads was found"
            raise UsageError(f"sparsity {sparsity.label}: {what} in {self.target.name}; use rows or columns")
        if sparsity.structure is not None and sparsity.ratio > 0:
            sides = {"rows": "out_features", "columns": "in_features", "heads": "heads"}
            most = max(getattr(layer, sides[sparsity.structure]) for layer in self.target.layers)
            if int(most * sparsity.ratio) == 0:
                few = f"of the {most} {sparsity.structure} of a layer, that is less than one"
                raise UsageError(f"sparsity {sparsity.label}: {few}; give at least {1 / most:.2g}")

    def score(
        self,
        pruner: Pruner,
        sparsity: Sparsity,
        then: Callable[[Score, PrunedWeights], object] | None = None,
        *,
        more: bool = False,
        again: bool = False,
        seeds: int = 1,
    ) -> Score:
        """Run a pruner in the sandbox, check what came out, and measure it.

        Args:
            pruner: what to run.
            sparsity: what it is asked for.
            then: called with a score that is OK and the weights that it is of, which are gone afterwards.
            more: whether another one follows: then its container starts while this one is scored.
            again: whether to run what passed every check a second time, to see if the same comes out.
            seeds: with how many seeds to run, counted from that of the bench, what turns out to depend on it.

        Raises:
            UsageError: as `check_sparsity`.
            Fault: the harness itself failed; says nothing about the pruner.
        """
        self.check_sparsity(sparsity)
        blank = self._blank(pruner, sparsity)
        if pruner.source is None or pruner.status is not None:
            status = pruner.status or Status.NO_CODE
            failure = Failure(status.stage, status.value, pruner.message or "there is no code to run")
            return replace(blank, status=status.value, outcome=status.outcome.value, error=failure)
        job = self._job(pruner.source, schedule(sparsity, self.rounds))
        further = again or seeds > 1
        first, digest = self._one(blank, job, sparsity, more=more or further, then=then, digested=further)
        if not further or digest is None:
            return first
        if again:
            first = replace(first, repeatable=self._comes_again(job, digest, more=more or seeds > 1))
        found = [first]
        for seed in range(self.seed + 1, self.seed + seeds):
            following = more or seed < self.seed + seeds - 1
            other, its = self._one(
                blank, replace(job, seed=seed), sparsity, more=following, digested=True, unless=digest
            )
            if its == digest:
                return first
            if its is None:
                return of_seed(other, seed)
            found.append(other)
        return over_seeds(found)

    def _one(
        self,
        blank: Score,
        job: Job,
        sparsity: Sparsity,
        *,
        more: bool,
        then: Callable[[Score, PrunedWeights], object] | None = None,
        digested: bool = False,
        unless: str | None = None,
    ) -> tuple[Score, str | None]:
        """The score of one run, and where it is OK the digest of its weights, empty unless `digested`.

        Weights with the digest `unless` are not measured.
        """
        with self._runs.run(job, more=more) as run:
            ran = replace(
                blank,
                sandbox_seconds=run.execution.wall_seconds,
                prune_seconds=run.prune_seconds,
                peak_memory_bytes=run.execution.peak_memory_bytes,
                uniform=run.uniform,
                notes=run.notes,
            )
            if run.status is not None:
                ended = replace(ran, status=run.status.value, outcome=run.status.outcome.value, error=run.failure)
                return ended, None
            weights = PrunedWeights(run.output, self.target.layers, self.target.checkpoint)
            digest = weights.digest() if digested else ""
            if digest == unless:
                return blank, digest
            verdict = weights.check(sparsity, run.uniform)
            checked = replace(
                ran,
                status=verdict.status.value,
                outcome=verdict.status.outcome.value,
                error=verdict.failure,
                achieved_sparsity=verdict.achieved_sparsity,
                weights_changed=verdict.weights_changed,
                zeros=verdict.zeros,
            )
            if verdict.status is not Status.OK:
                return checked, None
            score = self._measured(checked, weights)
            if score.status != Status.OK:
                return score, None
            if then is not None:
                then(score, weights)
            return score, digest

    def _job(self, source: bytes, sparsities: Sequence[Sparsity]) -> Job:
        calibration = self.calibration.ids
        known = {}
        if self.statistics == "dense":
            known = known_statistics(self.target, self._checkpoint, calibration, self._torch_dtype, source)
        asked = (sparsities, self.statistics, self.seed, self.dtype, self.device)
        return Job(source, self.target, calibration, *asked, known)

    def _comes_again(self, job: Job, digest: str, *, more: bool) -> bool:
        """Whether another run of the job gives weights with the same digest."""
        with self._runs.run(job, more=more) as run:
            if run.status is not None:
                return False
            return PrunedWeights(run.output, self.target.layers, self.target.checkpoint).digest() == digest

    def check_canaries(self, *, more: bool = False) -> None:
        """Run pruners with known answers, as is to be done before and after a batch of runs; `more` as in `score`.

        Raises:
            CanaryFault: what came out is not what had to: nothing measured beside it is to be ranked.
            Fault: the sandbox failed before that could be told.
        """
        window = self.evaluation.ids[:1]
        canary.check(
            self._runs,
            self._job(b"", [Sparsity(0.5)]),
            self._checkpoint,
            window,
            self.dense_losses[0],
            self._torch_dtype,
            more=more,
        )

    def _measured(self, score: Score, weights: PrunedWeights) -> Score:
        started = time.monotonic()
        what = f"scoring {console.plain(score.pruner, 60)} at {score.sparsity}"
        dense_states = self._dense.states if self.kl else None
        evaluation, dtype = self.evaluation.ids, self._torch_dtype
        measured = measure(self._checkpoint, evaluation, weights.parameters, what, dense_states, dtype)
        losses, divergences = measured.losses, measured.divergences
        seconds = time.monotonic() - started
        perplexity = metrics.perplexity(losses)
        if not math.isfinite(perplexity):
            status = Status.NON_FINITE
            failure = Failure(status.stage, status.value, "the pruned model's perplexity is not finite")
            return replace(score, status=status.value, outcome=status.outcome.value, error=failure)
        bounds = metrics.interval(losses)
        low, high = bounds if bounds and math.isfinite(bounds[1]) else (None, None)
        return replace(
            score,
            perplexity=perplexity,
            perplexity_low=low,
            perplexity_high=high,
            score_seconds=seconds,
            quarantined=metrics.quarantined(losses, self.dense_losses),
            window_losses=tuple(losses),
            kl_divergence=metrics.finite_mean(divergences),
            text=None if self.prompt is None else continued(self.target, self.prompt, weights.parameters),
        )

    def _blank(self, pruner: Pruner, sparsity: Sparsity) -> Score:
        return Score(
            pruner=pruner.name,
            author=pruner.author,
            target=self.target.name,
            sparsity=sparsity.label,
            status=Status.OK.value,
            outcome=None,
            error=None,
            achieved_sparsity=None,
            perplexity=None,
            perplexity_low=None,
            perplexity_high=None,
            dense_perplexity=self.dense_perplexity,
            sandbox_seconds=None,
            prune_seconds=None,
            score_seconds=None,
            peak_memory_bytes=None,
            isolation=self.isolation,
            protocol=self.measurement.id,
            seed=self.seed,
            idea=pruner.idea,
            model=pruner.model,
            template=pruner.template,
        )

    def faulted(self, pruner: Pruner, sparsity: Sparsity, status: str, message: str) -> Score:
        """The row of a cell that the harness could not measure: no outcome, and never the pruner's fault."""
        failure = Failure("harness", status, message)
        return replace(self._blank(pruner, sparsity), status=status, error=failure)
