"""`harness study`: run a whole study, resumable, and see how far it is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli._options import executor_options

if TYPE_CHECKING:
    from rich.console import Console

    from harness.store import Store
    from harness.study import Study


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Run a whole study, resumable, and see how far it is."""


@command.command()
@click.argument("study", metavar="STUDY.toml")
@click.option("--results", type=click.Path(path_type=Path, file_okay=False), help="Folder. [default: results/<name>]")
@click.option("--sandbox", type=click.Choice(["auto", "docker", "bubblewrap"]), help="In place of the study's.")
@click.option("--runtime", help="Docker runtime, such as runsc.")
@click.option("--rank-any-isolation", is_flag=True, help="Rank what ran outside a container, too.")
@click.option("--extend", is_flag=True, help="Accept cells that were added to the study since its last run.")
@click.option("--dry-run", is_flag=True, help="Say what it will take, and ask and run nothing.")
@executor_options
def run(
    study: str,
    results: Path | None,
    sandbox: str | None,
    runtime: str | None,
    rank_any_isolation: bool,
    extend: bool,
    dry_run: bool,
    executor: str,
    workers: int | None,
    cpus_per_task: int | None,
    ray_address: str | None,
    cluster: str | None,
    slurm_partition: str | None,
    sbatch: dict[str, str],
) -> None:
    """Run the cells of a study that have no result yet.

    STUDY.toml is a study file, or the name of a bundled study such as quickstart. Stop it with Ctrl-C, and go on with
    the same command, or with another executor.
    """
    from harness.executors import Options, open_executor
    from harness.recorded import default_results
    from harness.study import load

    described = load(study)
    path = results / "results.sqlite" if results else default_results(described.name)
    if dry_run:
        _show_forecast(described, path)
        return
    if slurm_partition is not None:
        sbatch["partition"] = slurm_partition
    asked = Options(path.parent, workers, cpus_per_task, ray_address, cluster, sbatch)
    chosen = open_executor(executor, asked)
    rank_isolation = "any" if rank_any_isolation else None
    options = {
        "sandbox": sandbox,
        "runtime": runtime,
        "rank_isolation": rank_isolation,
        "extend": extend,
        "executor": chosen,
    }
    _run(described, path, options, f"harness report {results if results else described.name}")


@command.command()
@click.argument("study")
@click.option("--rounds", type=click.IntRange(1, 20), default=1, show_default=True, help="One after the other.")
@click.option("--sandbox", type=click.Choice(["auto", "docker", "bubblewrap"]), help="In place of the study's.")
@click.option("--runtime", help="Docker runtime, such as runsc.")
@click.option("--rank-any-isolation", is_flag=True, help="Rank what ran outside a container, too.")
@click.option("--dry-run", is_flag=True, help="Say what the next round will take, and ask and run nothing.")
def repair(
    study: str,
    rounds: int,
    sandbox: str | None,
    runtime: str | None,
    rank_any_isolation: bool,
    dry_run: bool,
) -> None:
    """Ask again, once, for each attempt of STUDY that failed, with its code and its error, and run what comes.

    Apart from the one-pass result: a round is a study of its own, STUDY.repair-1, with results and an archive of its
    own. Given that one, the command makes round 2. Stop it with Ctrl-C, and go on with the same command.

    STUDY is the name of a study with generators that was run to its end, its TOML file, its results folder or its
    results file.
    """
    from harness import atomic, console
    from harness.errors import UsageError
    from harness.recorded import results_file
    from harness.repair_rounds import next_round

    if study.endswith(".zip"):
        raise UsageError(f"{study}: a pack is not gone on with: give the study where it was run")
    path = results_file(study)
    for _ in range(rounds):
        following = next_round(path)
        if following is None:
            console.notice(f"{path.parent}: no attempt failed, so there is nothing to ask again")
            return
        described, path = following.study, following.results
        if following.left_out:
            console.notice(
                f"{described.name}: {following.left_out} attempts are left out, since nobody knows their fate"
            )
        if dry_run:
            _show_forecast(described, path)
            return
        atomic.write(following.file, described.source.encode())
        rank_isolation = "any" if rank_any_isolation else None
        options = {"sandbox": sandbox, "runtime": runtime, "rank_isolation": rank_isolation}
        _run(described, path, options, f"harness report {study}")


def _run(described: Study, path: Path, options: dict[str, Any], following: str) -> None:
    """Run what is left of a study; `following` is the command to go on with."""
    from harness import console
    from harness.errors import HarnessError
    from harness.ledger import Ledger
    from harness.store import Store
    from harness.study_run import run as run_study
    from harness.study_run import tally

    with Store(path) as store:
        try:
            final = run_study(described, store, **options)
        except KeyboardInterrupt:
            so_far = tally(store)
            submitted = any(batch.id is not None for batch in Ledger(store).batches.running())
            waiting = ", and what was submitted as a batch runs on" if submitted else ""
            console.notice(
                f"stopped with {so_far.scored} of {so_far.planned} cells done{waiting}; the same command goes on from"
                " there"
            )
            sys.exit(130)
        if final.unasked:
            where = f" beside {path}" if described.repairs else ""
            raise HarnessError(
                f"{final.unasked} attempts were not asked: max_cost ({described.max_cost:g} US dollars) is spent, or"
                f" would not reach; raise it in the study file{where}, and run the same command"
            )
        if final.faults:
            first = store.faults()[0]
            raise HarnessError(
                f"{final.faults} of {final.planned} cells met a fault of the harness, the first {first.status}:"
                f" {first.message}; run the same command to try them again"
            )
    console.notice(f"{final.scored} of {final.planned} cells done; next: {following}")


def _show_forecast(described: Study, path: Path) -> None:
    """What is left to ask and to run."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from harness.forecast import forecast
    from harness.ledger import Ledger
    from harness.planning import attempts, plan
    from harness.store import Store

    asked = attempts(described)
    calls, done = {}, set()
    if path.is_file():
        with Store(path, create=False) as store:
            calls, done = Ledger(store).calls(), {(s.target, s.sparsity, s.pruner) for s in store.scores()}
    screen = Console()
    if described.generators:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("generator", overflow="fold")
        for heading in ("requests", "tokens in", "tokens out", "US $", "minutes", "by"):
            table.add_column(heading, justify="right")
        forecasts = forecast(described, asked, calls)
        for one in forecasts:
            by = f"{one.measured} answers" if one.measured else "guess"
            money = "unknown" if one.cost is None else f"{one.cost:.2f}"
            counts = (f"{one.requests:,}", f"{one.input_tokens:,}", f"{one.output_tokens:,}")
            table.add_row(Text(one.generator), *counts, money, f"{one.seconds / 60:.1f}", by)
        screen.print(table)
        known = sum(one.cost or 0 for one in forecasts)
        if described.max_cost is not None and known > described.max_cost:
            screen.print(f"More than max_cost ({described.max_cost:g} US dollars): it will stop there.")
    left = sum(cell.key not in done for cell in plan(described))
    requests = sum(one.requests for one in forecasts) if described.generators else 0
    screen.print(
        f"{requests:,} requests and {left:,} of {left + len(done):,} cells are left. Nothing was asked or run."
    )


@command.command()
@click.argument("study")
def status(study: str) -> None:
    """Show how many cells of STUDY are done, failed and left.

    STUDY is a study's name, its TOML file, its results folder, its results file or its pack.
    """
    from harness.recorded import results_file
    from harness.store import Store

    with Store(results_file(study), create=False) as store:
        _show(store)


def _show(store: Store) -> None:
    from collections import Counter

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from harness.console import plain

    plan = store.plan()
    scores, faults = store.scores(), store.faults()
    planned = Counter((cell.target, cell.sparsity) for cell in (plan.cells if plan else ()))
    outcomes = Counter((score.target, score.sparsity, score.outcome) for score in scores)
    faulted = Counter((fault.target, fault.sparsity) for fault in faults)
    table = Table(title=Text(f"{plan.name if plan else 'no study'}: {len(scores)} of {planned.total()} cells done"))
    table.add_column("target")
    for heading in ("sparsity", "planned", "OK", "Error", "NA", "fault", "left"):
        table.add_column(heading, justify="right")
    for (target, sparsity), number in planned.items():
        counts = [outcomes[target, sparsity, outcome] for outcome in ("OK", "Error", "NA")]
        cells = [sparsity, number, *counts, faulted[target, sparsity], number - sum(counts)]
        table.add_row(Text(plain(target, 60)), *(str(cell) for cell in cells))
    screen = Console()
    screen.print(table)
    _show_attempts(store, screen)
    for fault in faults[:10]:
        screen.print(
            Text(plain(f"{fault.target} {fault.sparsity} {fault.pruner}: {fault.status}: {fault.message}", 500))
        )
    if len(faults) > 10:
        screen.print(f"… and {len(faults) - 10} more faults")


def _show_attempts(store: Store, screen: Console) -> None:
    """How many of the promised attempts were answered; nothing where none was promised."""
    from rich.text import Text

    from harness.console import plain
    from harness.ledger import Ledger
    from harness.settling import received

    ledger = Ledger(store)
    promised = ledger.promised()
    if promised is None:
        return
    listed, calls = ledger.attempts(), ledger.calls()
    answered = sum(received(one["model"], calls.get(one["id"], [])) is not None for one in listed)
    sent = sum(len(made) for made in calls.values())
    screen.print(f"{answered} of {len(listed)} attempts answered by {sent} requests; their list: {promised[:16]}")
    for batch in ledger.batches.running():
        if batch.id is not None:
            screen.print(Text(plain(f"batch {batch.id} of {batch.generator} is at {batch.url}", 500)))
