"""The run of a study: fills the cells that have no score yet, and can be stopped and resumed at any time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from harness import console
from harness.asking import Asked, ask
from harness.errors import UsageError
from harness.executors import Executor
from harness.executors.local import LocalExecutor
from harness.executors.tasks import Bench, Doubted, Faulted, Opened, Remark, Result, Scored, Setup, Task
from harness.ledger import Ledger
from harness.planning import attempts, plan, resolve
from harness.records import Pruner
from harness.store import Cell, Plan, Store
from harness.study import Study


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
    asked = Asked()
    if study.generators:
        asked = ask(study, attempts(study), Ledger(store))
        by_name = resolve(study)
        cells = plan(study, by_name)
        _adopt(study, store, cells, rank_isolation or study.rank_isolation, extend)
        for name, fault in asked.faults.items():
            store.add_faults([cell for cell in cells if cell.pruner == name], fault.status, str(fault))
    fill(study, store, cells, by_name, open_bench, sandbox=sandbox, runtime=runtime, executor=executor)
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
    executor: Executor | None = None,
) -> None:
    """Run those of `cells`, which are of the plan on file, that have no score yet; pruners are those of `by_name`.

    The other arguments, and what is raised, are those of `run`.
    """
    done = store.scored()
    pending = [cell for cell in cells if cell.key not in done and _is_answered(by_name[cell.pruner])]
    options = {"sandbox": _level(sandbox or study.sandbox, store), "runtime": runtime, **_bench_options(study)}
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


def _is_answered(pruner: Pruner) -> bool:
    """Whether there is anything to judge: code, or why there is none."""
    return pruner.source is not None or pruner.status is not None


def tally(store: Store) -> Tally:
    """How far the study of `store` is."""
    recorded = store.plan()
    return Tally(len(recorded.cells) if recorded else 0, len(store.scored()), len(store.faults()))


class _Filing:
    """Puts the results of workers on file, and says what came."""

    def __init__(self, store: Store, bar: console.Task) -> None:
        self._store = store
        self._bar = bar
        self._opened: dict[str, Opened] = {}
        """By target: the first worker that opened it."""

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
            self._store.add_score(cell, score, result.environment)
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
        scored = any(where == target for where, _, _ in self._store.scored())
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
        name, record = opened.environment
        self._store.add_environment(name, record)
        first = self._opened.setdefault(target, opened)
        if first is opened:
            measured = replace(now, target=target, dense_text=opened.dense_text)
            self._store.add_measurement(target, measured, opened.dense_losses)
        elif first.environment[0] != name:
            differs = ", ".join(key for key, value in first.environment[1].items() if value != record.get(key))
            hosts = f"{first.host} and {opened.host}"
            console.notice(console.plain(f"{target}: {hosts} may differ in last digits: they have another {differs}"))


def _repeated(store: Store, target: str) -> frozenset[str]:
    """The pruners that are known to give the same weights again on a target, or not to."""
    scores = (score for score in store.scores() if score.target == target and score.repeatable is not None)
    return frozenset(score.pruner for score in scores)


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
