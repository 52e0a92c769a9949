"""`harness replay`: run a study again, offline, and compare with what was recorded."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from harness.records import Score
    from harness.store import Plan, Store


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("study")
@click.option("--sandbox", type=click.Choice(["auto", "docker", "bubblewrap"]), help="In place of the study's.")
@click.option("--runtime", help="Docker runtime, such as runsc.")
def command(study: str, sandbox: str | None, runtime: str | None) -> None:
    """Run every recorded cell of STUDY again, offline, and show where status or perplexity differ.

    The recorded results stay as they are. Perplexities are compared exactly, which holds on the same kind of CPU with
    the same versions. Exit status: 0 when nothing differs, 1 when something does, 3 when a cell could not be run.
    """
    import os
    import tempfile
    from pathlib import Path

    # read when the libraries of the hub are first imported
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"

    from harness.errors import HarnessError, UsageError
    from harness.store import Store
    from harness.study import parse, results_file
    from harness.study_run import run

    path = results_file(study)
    with Store(path, create=False) as store:
        plan, recorded, measured = store.plan(), store.scores(), store.measurements()
    if plan is None or not recorded:
        raise UsageError(f"{path}: nothing is recorded yet, so there is nothing to compare: run the study first")
    with (
        tempfile.TemporaryDirectory(prefix="harness-replay-") as folder,
        Store(Path(folder) / "replay.sqlite") as again,
    ):
        run(parse(plan.text, str(path)), again, sandbox=sandbox, runtime=runtime, offline=True)
        notes = _notes(plan, again)
        notes += [
            f"{target}: measured by protocol {now.id}, recorded by {measured[target].id}"
            for target, now in again.measurements().items()
            if target in measured and measured[target].id != now.id
        ]
        faults, replayed = again.faults(), again.scores()
    differing = _show(recorded, replayed, notes)
    if faults:
        first = faults[0]
        raise HarnessError(f"{len(faults)} cells met a fault of the harness, the first {first.status}: {first.message}")
    sys.exit(1 if differing else 0)


def _notes(plan: Plan, again: Store) -> list[str]:
    """What explains a difference: code that has changed, or is new, since the study ran."""
    now = again.plan()
    changed = sorted({cell.pruner for cell in set(now.cells) - set(plan.cells)}) if now else []
    return [f"{name}: its code has changed, or it is new, since the study ran" for name in changed]


def _show(recorded: list[Score], replayed: list[Score], notes: list[str]) -> int:
    """Print the differences; how many cells differ, of those that were recorded and ran again."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from harness.console import plain

    found = {(score.target, score.sparsity, score.pruner): score for score in replayed}
    pairs = [(score, found.get((score.target, score.sparsity, score.pruner))) for score in recorded]
    ran = [(before, after) for before, after in pairs if after is not None]
    differing = [(before, after) for before, after in ran if _result(before) != _result(after)]
    screen = Console()
    if differing:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in ("target", "sparsity", "pruner", "recorded", "replayed"):
            table.add_column(heading, overflow="fold")
        for before, after in differing:
            texts = (before.target, before.sparsity, before.pruner, _result(before), _result(after))
            table.add_row(*(Text(plain(text, 120)) for text in texts))
        screen.print(table)
    for note in notes:
        screen.print(Text(plain(note, 500)))
    screen.print(f"{len(ran) - len(differing)} of {len(recorded)} recorded cells ran again with the same result.")
    return len(differing)


def _result(score: Score) -> str:
    """Status and perplexity with every digit, so that equal texts are equal results."""
    return score.status if score.perplexity is None else f"{score.status} {score.perplexity!r}"
