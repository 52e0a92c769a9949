"""`harness replay`: run a study again, offline, and compare with what was recorded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from harness.cli._options import json_option

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from harness.replay import Fact, Pair, Replay, Result

_DIGEST_CHARACTERS = 12


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("study")
@click.option("--target", "targets", multiple=True, help="Only cells of this target; may be given again.")
@click.option("--sparsity", "sparsities", multiple=True, help="Only cells of this sparsity; may be given again.")
@click.option("--pruner", "names", multiple=True, metavar="PRUNER", help="Only this pruner's; may be given again.")
@click.option("--sandbox", type=click.Choice(["auto", "docker", "bubblewrap"]), help="In place of the study's.")
@click.option("--runtime", help="Docker runtime, such as runsc.")
@json_option
def command(
    study: str,
    targets: tuple[str, ...],
    sparsities: tuple[str, ...],
    names: tuple[str, ...],
    sandbox: str | None,
    runtime: str | None,
    json_file: str | None,
) -> None:
    """Run the recorded cells of STUDY again, offline, and show where status, perplexity or mask differ, and why.

    STUDY is a study's name, its TOML file, its results folder, its results file or its pack; of a pack, the code is
    that in it. The recorded results stay as they are. Perplexities are compared exactly, which holds on the same kind
    of CPU with the same versions; of what is another here, the table at the end says how. Exit status: 0 when nothing
    differs, 1 when something does, 3 when a cell could not be run.
    """
    import os

    # read when the libraries of the hub are first imported
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"

    from harness.cli._output import check_writable, finite, write_json
    from harness.errors import HarnessError
    from harness.recorded import recorded
    from harness.records import Sparsity
    from harness.replay import Wanted, replay

    check_writable(json_file)
    labels = [Sparsity.parse(text).label for texts in sparsities for text in texts.split(",")]
    found = replay(recorded(study), Wanted(targets, labels, names), sandbox=sandbox, runtime=runtime)
    if json_file != "-":
        _show(found)
    write_json(json_file, [finite(_record(pair, found)) for pair in found.pairs])
    if found.faults:
        first = found.faults[0]
        raise HarnessError(
            f"{len(found.faults)} cells met a fault of the harness, the first {first.status}: {first.message}"
        )
    sys.exit(1 if found.differing else 0)


def _record(pair: Pair, found: Replay) -> dict[str, Any]:
    return {
        "target": pair.cell.target,
        "sparsity": pair.cell.sparsity,
        "pruner": pair.cell.pruner,
        "differs": None if pair.after is None else list(pair.differs),
        "recorded": pair.before.to_json(),
        "replayed": None if pair.after is None else pair.after.to_json(),
        "environment": {fact.name: [fact.recorded[0], fact.here[0]] for fact in found.facts([pair])},
    }


def _show(found: Replay) -> None:
    """Print what differs and what may explain it; every text is a stranger's."""
    from rich.console import Console
    from rich.text import Text

    from harness.console import plain

    screen = Console()
    if found.differing:
        screen.print(_differences(found.differing))
        if facts := found.facts(found.differing):
            screen.print(_environment(facts))
    for note in found.notes:
        screen.print(Text(" ".join(plain(note, 500).split())))
    _summarise(screen, found)


def _summarise(screen: Console, found: Replay) -> None:
    from rich.text import Text

    from harness.console import plain

    same, masks = len(found.ran) - len(found.differing), sum(pair.masks_compared for pair in found.ran)
    if not found.differing and (facts := found.facts(found.ran)):
        names = ", ".join(fact.name for fact in facts)
        screen.print(Text(f"Recorded with another {plain(names, 500)}; the results are the same nonetheless."))
    screen.print(f"{same} of {len(found.pairs)} recorded cells ran again with the same result.")
    if found.ran:
        screen.print(f"Compared: status, perplexity in every digit, and {masks} masks in every bit.")


def _differences(pairs: list[Pair]) -> Table:
    from rich.text import Text

    from harness.console import plain

    table = _table("target", "sparsity", "pruner", "recorded", "replayed", "mask")
    for pair in pairs:
        assert pair.after is not None
        texts = (*pair.cell.key, _result(pair.before), _result(pair.after), _mask(pair))
        table.add_row(*(Text(" ".join(plain(text, 120).split())) for text in texts))
    return table


def _environment(facts: Sequence[Fact]) -> Table:
    from rich.text import Text

    from harness.console import plain

    table = _table("measured with", "recorded", "here")
    for fact in facts:
        texts = (fact.name, *(" or ".join(value or "unknown" for value in some) for some in (fact.recorded, fact.here)))
        table.add_row(*(Text(" ".join(plain(text, 200).split())) for text in texts))
    return table


def _table(*headings: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _result(result: Result) -> str:
    """Status and perplexity with every digit, so that equal texts are equal results."""
    return result.status if result.perplexity is None else f"{result.status} {result.perplexity!r}"


def _mask(pair: Pair) -> str:
    """Digests only where they differ, so that what is the same reads so."""
    assert pair.after is not None
    if not pair.masks_compared:
        return ""
    digests = (pair.before.zeros_sha256 or "", pair.after.zeros_sha256 or "")
    return " -> ".join(digest[:_DIGEST_CHARACTERS] for digest in digests) if "mask" in pair.differs else "the same"
