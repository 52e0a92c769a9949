"""The run of a study: fills the cells that have no score yet, and can be stopped and resumed at any time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from harness import console
from harness.errors import UsageError
from harness.executors import Executor
from harness.executors.environment import Environment
from harness.executors.local import LocalExecutor
from harness.executors.tasks import Bench, Doubted, Faulted, Opened, Remark, Result, Scored, Setup, Task
from harness.store import Cell, Plan, Store
from harness.study import Study, plan, resolve


@dataclass(frozen=True, slots=True)
class Tally:
    """How far a study is."""

    planned: int
    scored: int
    faults: int


def run(
    study: Study,
    store: Store,
    open_bench: Callable[..., Bench] | None = None,
    *,
    sandbox: str | None = None,
    runtime: str | None = None,
    rank_isolation: str | None = None,
    extend: bool = False,
    executor: Executor | None = None,
) -> Tally:
    """Run the cells that have no score yet; each result is filed here, by this process, as soon as it is there.

    Args:
        study: what to run.
        store: its results, of an earlier run or empty.
        open_bench: in place of `harness.pipeline.open_bench`; called once in a worker for each of its targets.
        sandbox: overrides the study's.
        runtime: Docker runtime such as `runsc`.
        rank_isolation: overrides the study's.
        extend: accept a study to which cells were added since its last run.
        executor: who runs the cells; by default this process, in plan order.

    Raises:
        UsageError: the study or what it measures has changed since its last run, or a sparsity does not fit a target.
        StorageFault: the results cannot be written. Any other fault is recorded at its cell, for a later run.
    """
    by_name = resolve(study)
    cells = plan(study, by_name)
    _adopt(study, store, cells, rank_isolation or study.rank_isolation, extend)
    level = _level(sandbox or study.sandbox, store)
    pending = [cell for cell in cells if not store.has_score(cell)]
    options = {"sandbox": level, "runtime": runtime, **_bench_options(study)}
    setup = Setup(options, study.repeat, study.seeds, open_bench)
    tasks = [
        Task(target, tuple((cell, by_name[cell.pruner]) for cell in group), _repeated(store, target))
        for target, group in groupby(pending, key=lambda cell: cell.target)
    ]
    with console.progress(f"study {study.name}", len(pending)) as bar:
        filing = _Filing(store, bar)
        with closing((executor or LocalExecutor()).run(setup, tasks, filing.is_done)) as results:
            for result in results:
                filing.file(result)
    return tally(store)


def tally(store: Store) -> Tally:
    """How far the study of `store` is."""
    recorded = store.plan()
    return Tally(len(recorded.cells) if recorded else 0, len(store.scores()), len(store.faults()))


class _Filing:
    """Puts the results of workers on file, and says what came."""

    def __init__(self, store: Store, bar: console.Task) -> None:
        self._store = store
        self._bar = bar
        self._opened: dict[str, Environment] = {}

    def is_done(self, cell: Cell) -> bool:
        """Whether another process did a cell meanwhile; asked once for each that is about to begin."""
        done = self._store.has_score(cell)
        if done:
            self._bar.advance()
        return done

    def file(self, result: Result) -> None:
        """File one result.

        Raises:
            UsageError: a target is not what it was measured as before.
            StorageFault: the results cannot be written.
        """
        if isinstance(result, Opened):
            self._open(result)
        elif isinstance(result, Scored):
            cell, score = result.cell, result.score
            self._store.add_score(cell, score)
            self._bar.advance()
            said = score.status if score.perplexity is None else f"{score.status}, perplexity {score.perplexity:.6g}"
            console.notice(console.plain(f"{cell.pruner} at {cell.sparsity} on {cell.target}: {said}"))
        elif isinstance(result, Faulted):
            self._store.add_faults(result.cells, result.status, result.message)
            self._bar.advance(len(result.cells))
            first = result.cells[0]
            where = first.target if len(result.cells) > 1 else " ".join(first.key)
            console.notice(console.plain(f"{where}: {result.status}: {result.message}").replace("\n", " "))
        elif isinstance(result, Doubted):
            why = f"{result.message}; the results before it are measured again"
            self._store.set_aside(result.cells, result.status, why)
            said = f"{result.target}: {result.status}: {result.message}; the results before it are set aside"
            console.notice(console.plain(said))
        elif isinstance(result, Remark):
            console.notice(console.plain(result.text))

    def _open(self, opened: Opened) -> None:
        """See that a worker measures what is on file, or what the workers before it do, and file it."""
        target, now = opened.target, opened.measurement
        recorded = self._store.measurements().get(target)
        scored = any(score.target == target for score in self._store.scores())
        if recorded is not None and (scored or target in self._opened):
            what = "its weights are others" if recorded.weights_sha256 != now.weights_sha256 else ""
            if recorded.id != now.id:
                what = f"its protocol is {now.id} and was {recorded.id}"
            if what and target in self._opened:
                raise UsageError(f"{target} is not the same for two workers: {what}; make it so on all machines")
            if what:
                raise UsageError(
                    f"{target} has results, but {what}: give the study another name, or --results another folder"
                )
        first = self._opened.setdefault(target, opened.environment)
        if first is opened.environment:
            measured = replace(now, target=target, dense_text=opened.dense_text)
            self._store.add_measurement(target, measured, opened.dense_losses)
        elif first.id != opened.environment.id:
            differs = first.difference(opened.environment)
            hosts = f"{first.host} and {opened.environment.host}"
            console.notice(console.plain(f"{target}: {hosts} may differ in last digits: {differs}"))


def _repeated(store: Store, target: str) -> frozenset[str]:
    """The pruners that are known to give the same weights again on a target, or not to."""
    scores = (score for score in store.scores() if score.target == target and score.repeatable is not None)
    return frozenset(score.pruner for score in scores)


def _level(sandbox: str, store: Store) -> str:
    """`auto` is docker for a study that has results of it: an engine that is down now must not change the isolation."""
    began = any(score.isolation.startswith("docker") for score in store.scores())
    return "docker" if sandbox == "auto" and began else sandbox


def _adopt(study: Study, store: Store, cells: list[Cell], rank_isolation: str, extend: bool) -> None:
    """Make the study the one of the store, unless results are there that it does not describe."""
    recorded = store.plan()
    if recorded is not None and store.scores():
        elsewhere = "give it another name, or --results another folder"
        if recorded.name != study.name:
            raise UsageError(f"{store.path} holds the study {recorded.name!r}: {elsewhere}")
        before = Study.defaults() | dict(recorded.settings)  # a key may be newer than the results
        if changed := [key for key, value in study.settings.items() if before[key] != value]:
            raise UsageError(f"study {study.name!r} has results with another {', '.join(changed)}: {elsewhere}")
        missing, added = set(recorded.cells) - set(cells), set(cells) - set(recorded.cells)
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
    store.save_plan(Plan(study.name, study.source, study.settings, rank_isolation, tuple(cells)))


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
