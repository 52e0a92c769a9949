"""The run of a study: fills the cells that have no score yet, and can be stopped and resumed at any time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Protocol

from harness import console
from harness.asking import Asked, ask
from harness.errors import CanaryFault, Fault, UsageError
from harness.ledger import Ledger
from harness.records import Measurement, Pruner, Score, Sparsity
from harness.store import Cell, Plan, Store
from harness.study import Study, attempts, plan, resolve


class Bench(Protocol):
    """What `harness.pipeline.open_bench` gives: a target, ready to prune and to score."""

    @property
    def measurement(self) -> Measurement:
        """The protocol."""
        ...

    @property
    def environment(self) -> tuple[str, Mapping[str, Any]]:
        """What it measures with, and the id of that."""
        ...

    @property
    def dense_losses(self) -> Sequence[float]:
        """Mean loss of each window of the dense model, in nats."""
        ...

    @property
    def dense_perplexity(self) -> float:
        """Of the dense model."""
        ...

    @property
    def dense_text(self) -> str | None:
        """How the dense model goes on from the prompt; None where there is none."""
        ...

    def check_sparsity(self, sparsity: Sparsity) -> None:
        """Raises UsageError when the target has nothing of what the sparsity is about."""
        ...

    def check_canaries(self) -> None:
        """Run pruners with known answers; raises CanaryFault when one is off."""
        ...

    def score(
        self, pruner: Pruner, sparsity: Sparsity, *, more: bool = False, again: bool = False, seeds: int = 1
    ) -> Score:
        """Prune in the sandbox, check, score; `more` when another one follows, `again` to see if the same comes out.

        With as many of `seeds` as make a difference. Raises Fault when the harness itself failed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Tally:
    """How far a study is."""

    planned: int
    scored: int
    faults: int
    unasked: int = 0
    """Attempts for which there was no money left."""


def run(
    study: Study,
    store: Store,
    open_bench: Callable[..., Bench] | None = None,
    *,
    sandbox: str | None = None,
    runtime: str | None = None,
    rank_isolation: str | None = None,
    extend: bool = False,
) -> Tally:
    """Run the cells that have no score yet, in plan order; each result is on file before the next begins.

    Args:
        study: what to run.
        store: its results, of an earlier run or empty.
        open_bench: in place of `harness.pipeline.open_bench`; called once for each target with cells to run.
        sandbox: overrides the study's.
        runtime: Docker runtime such as `runsc`.
        rank_isolation: overrides the study's.
        extend: accept a study to which cells were added since its last run.

    Raises:
        UsageError: the study or what it measures has changed since its last run, or a sparsity does not fit a target.
        StorageFault: the results cannot be written. Any other fault is recorded at its cell, for a later run.
    """
    by_name = resolve(study)
    cells = plan(study, by_name)
    _adopt(study, store, cells, rank_isolation or study.rank_isolation, extend)
    asked = Asked()
    if study.generators:
        asked = ask(study, attempts(study), Ledger(store))
        by_name = resolve(study)
        cells = plan(study, by_name)
        _adopt(study, store, cells, rank_isolation or study.rank_isolation, extend)
        for name, fault in asked.faults.items():
            store.add_faults([cell for cell in cells if cell.pruner == name], fault.status, str(fault))
    fill(study, store, cells, by_name, open_bench, sandbox=sandbox, runtime=runtime)
    return replace(tally(store), unasked=len(asked.unasked))


def fill(
    study: Study,
    store: Store,
    cells: Sequence[Cell],
    by_name: Mapping[str, Pruner],
    open_bench: Callable[..., Bench] | None = None,
    *,
    sandbox: str | None = None,
    runtime: str | None = None,
) -> None:
    """Run those of `cells`, which are of the plan on file, that have no score yet; pruners are those of `by_name`.

    The other arguments, and what is raised, are those of `run`.
    """
    options, level = _bench_options(study), _level(sandbox or study.sandbox, store)
    done = store.scored()
    pending = [cell for cell in cells if cell.key not in done and _is_answered(by_name[cell.pruner])]
    with console.progress(f"study {study.name}", len(pending)) as task:
        for target, group in groupby(pending, key=lambda cell: cell.target):
            todo = list(group)
            try:
                bench = (open_bench or _pipeline())(target, sandbox=level, runtime=runtime, **options)
            except Fault as fault:
                _record_fault(store, todo, fault)
                task.advance(len(todo))
                continue
            for label in dict.fromkeys(cell.sparsity for cell in todo):
                bench.check_sparsity(Sparsity.parse(label))
            _check_protocol(store, target, bench)
            store.add_environment(*bench.environment)
            _run_batch(study, store, bench, todo, by_name, task)


def _is_answered(pruner: Pruner) -> bool:
    """Whether there is anything to judge: code, or why there is none."""
    return pruner.source is not None or pruner.status is not None


def tally(store: Store) -> Tally:
    """How far the study of `store` is."""
    recorded = store.plan()
    return Tally(len(recorded.cells) if recorded else 0, len(store.scored()), len(store.faults()))


def _run_batch(
    study: Study, store: Store, bench: Bench, todo: list[Cell], by_name: Mapping[str, Pruner], task: console.Task
) -> None:
    """Run cells of one target between canaries; when one is off, nothing of the batch counts."""
    try:
        bench.check_canaries()
    except Fault as fault:
        _record_fault(store, todo, fault)
        task.advance(len(todo))
        return
    known = {
        score.pruner for score in store.scores() if score.target == todo[0].target and score.repeatable is not None
    }
    done = []
    for cell in todo:
        more, again = cell is not todo[-1], study.repeat and cell.pruner not in known
        asked = {"more": more, "again": again, "seeds": study.seeds}
        score = _run_cell(store, bench, cell, by_name[cell.pruner], asked)
        if score is not None:
            done.append(cell)
            if score.repeatable is not None:
                known.add(cell.pruner)
        task.advance()
    try:
        _check_twice(bench)
    except CanaryFault as fault:
        store.set_aside(done, fault.status, f"{fault}; the results before it are measured again")
        console.notice(console.plain(f"{todo[0].target}: {fault.status}: {fault}; the results before it are set aside"))
    except Fault as fault:
        console.notice(console.plain(f"{todo[0].target}: the canary after the batch could not run: {fault}"))


def _check_twice(bench: Bench) -> None:
    """Check the canaries, and once more if one is off: an engine that was killed may have taken one along."""
    try:
        bench.check_canaries()
    except CanaryFault:
        bench.check_canaries()


def _run_cell(store: Store, bench: Bench, cell: Cell, pruner: Pruner, asked: Mapping[str, Any]) -> Score | None:
    """Score a cell and file it; None where there is nothing to file."""
    if store.has_score(cell):  # another process did it meanwhile
        return None
    try:
        # a path as target may have another name in the score; results are filed under the study's
        score = replace(bench.score(pruner, Sparsity.parse(cell.sparsity), **asked), target=cell.target)
    except Fault as fault:
        _record_fault(store, [cell], fault)
        return None
    store.add_score(cell, score, bench.environment[0])
    result = score.status if score.perplexity is None else f"{score.status}, perplexity {score.perplexity:.6g}"
    console.notice(console.plain(f"{cell.pruner} at {cell.sparsity} on {cell.target}: {result}"))
    return score


def _record_fault(store: Store, cells: list[Cell], fault: Fault) -> None:
    store.add_faults(cells, fault.status, str(fault))
    where = cells[0].target if len(cells) > 1 else " ".join(cells[0].key)
    console.notice(console.plain(f"{where}: {fault.status}: {fault}").replace("\n", " "))


def _level(sandbox: str, store: Store) -> str:
    """`auto` is docker for a study that has results of it: an engine that is down now must not change the isolation."""
    began = any(isolation.startswith("docker") for isolation in store.isolations())
    return "docker" if sandbox == "auto" and began else sandbox


def _adopt(study: Study, store: Store, cells: list[Cell], rank_isolation: str, extend: bool) -> None:
    """Make the study the one of the store, unless results are there that it does not describe."""
    recorded = store.plan()
    if recorded is not None and store.scored():
        elsewhere = "give it another name, or --results another folder"
        if recorded.name != study.name:
            raise UsageError(f"{store.path} holds the study {recorded.name!r}: {elsewhere}")
        before = Study.defaults() | dict(recorded.settings)  # a key may be newer than the results
        if changed := [key for key, value in study.settings.items() if before[key] != value]:
            raise UsageError(f"study {study.name!r} has results with another {', '.join(changed)}: {elsewhere}")
        open_ = {cell.key for cell in recorded.cells if cell.source_sha256 is None and not store.has_score(cell)}
        missing = {cell for cell in set(recorded.cells) - set(cells) if cell.key not in open_}
        added = {cell for cell in set(cells) - set(recorded.cells) if cell.key not in open_}
        if missing:
            example = min(missing, key=lambda cell: cell.key)
            how = "has new code" if example.key in {cell.key for cell in added} else "is no more in it"
            raise UsageError(
                f"study {study.name!r} has results, and {example.pruner} at {example.sparsity} on {example.target}"
                f" {how}: {elsewhere}"
            )
        if added and not extend:
            raise UsageError(
                f"study {study.name!r} has results and {len(added)} new cells: add --extend, or {elsewhere}"
            )
    planned = Plan(study.name, study.source, study.settings, rank_isolation, tuple(cells))
    if planned != recorded:
        store.save_plan(planned)


def _check_protocol(store: Store, target: str, bench: Bench) -> None:
    recorded, now = store.measurements().get(target), bench.measurement
    scored = any(where == target for where, _, _ in store.scored())
    if recorded is not None and scored:
        what = "its weights are others" if recorded.weights_sha256 != now.weights_sha256 else ""
        if recorded.id != now.id:
            what = f"its protocol is {now.id} and was {recorded.id}"
        if what:
            raise UsageError(
                f"{target} has results, but {what}: give the study another name, or --results another folder"
            )
    store.add_measurement(target, replace(now, target=target, dense_text=bench.dense_text), bench.dense_losses)


def _pipeline() -> Callable[..., Bench]:
    from harness.pipeline import open_bench  # noqa: PLC0415 - it loads torch; a finished or refused study needs none

    return open_bench


def _bench_options(study: Study) -> dict[str, Any]:
    return {
        "calibration": study.calibration,
        "calibration_samples": study.calibration_samples,
        "evaluation": study.eval,
        "eval_windows": study.eval_windows,
        "seqlen": study.seqlen,
        "statistics": study.statistics,
        "dtype": study.dtype,
        "device": study.device,
        "timeout_seconds": study.timeout,
        "memory_bytes": study.memory,
        "seed": study.seed,
        "kl": study.kl,
        "text": study.text,
        "text_tokens": study.text_tokens,
        "rounds": study.rounds,
    }
