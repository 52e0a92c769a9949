"""`harness verify-literature`: published figures, measured again and compared."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli._options import json_option, run_options

if TYPE_CHECKING:
    from harness.verification import Verified


@click.command("verify-literature")
@click.option("--models", help="Models with commas between them [all].")
@click.option("--methods", help="Methods with commas between them: dense, magnitude, wanda, sparsegpt [all].")
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False), help="Figures of your own [the bundled ones].")
@run_options
@json_option
def command(
    models: str | None, methods: str | None, file: Path | None, json_file: str | None, **options: object
) -> None:
    """Measure published perplexities again, and print measured, published, tolerance and verdict side by side.

    What the machine or the hub does not allow is not run, and says why. Unless told otherwise, time and memory are
    those that the file gives for the model. Exit status: 1 when a figure differs.
    """
    from harness import console
    from harness.cli._output import check_writable, write_json
    from harness.literature import load, select

    figures = select(load(file), _names(models), _names(methods))
    check_writable(json_file)
    from harness.verification import verify

    verified = []
    with console.progress(f"{len(figures)} figures", len(figures)) as bar:
        for one in verify(figures, **options):
            verified.append(one)
            bar.advance()
    write_json(json_file, [one.to_json() for one in verified])
    if json_file != "-":
        _show(verified)
    sys.exit(1 if any(one.verdict == "differs" for one in verified) else 0)


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",")] if text is not None else []


def _show(verified: list[Verified]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from harness.console import plain

    out = Console(highlight=False)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for heading in ("model", "method", "sparsity", "measured", "published", "off by", "tolerance", "verdict"):
        words = heading in ("model", "method", "verdict")
        table.add_column(heading, justify="left" if words else "right", no_wrap=True)
    styles = {"agrees": "green", "differs": "red"}
    for one in verified:
        figure = one.figure
        measured = "" if one.measured is None else f"{one.measured:,.2f}"
        difference = "" if one.difference is None else f"{one.difference:+.1%}"
        numbers: list[Any] = [figure.sparsity.label, measured, f"{figure.perplexity:,g}", difference]
        verdict = Text(one.verdict, styles.get(one.verdict, "dim"))
        table.add_row(figure.model.name, figure.method, *numbers, f"{figure.tolerance:.1%}", verdict)
    out.print(table)
    notes = [f"{one.figure.model.name}: {one.verdict}: {one.reason}" for one in verified if one.reason]
    notes += [f"sources: {'; '.join(dict.fromkeys(one.figure.source for one in verified))}"]
    notes += [f"tolerance: {'; '.join(dict.fromkeys(one.figure.why for one in verified if one.figure.checked))}"]
    notes += [
        f"not judged: {why}" for why in dict.fromkeys(one.figure.why for one in verified if not one.figure.checked)
    ]
    for note in dict.fromkeys(notes):
        out.print(Text(plain(note, 1500).replace("\n", " "), "dim"), soft_wrap=True)
