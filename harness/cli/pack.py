"""`harness pack STUDY`: a study in one file that others can check, read and report."""

from __future__ import annotations

import re
from pathlib import Path

import click

from harness.errors import UsageError


def _licence(_ctx: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,39}", text):
        raise UsageError(f"--license {text[:60]!r}: give an identifier, as in mit or cc-by-4.0")
    return text


@click.command()
@click.argument("study")
@click.option("--into", type=click.Path(path_type=Path), help="File to make. [default: <study>.zip]")
@click.option("--license", "licence", callback=_licence, help="Identifier for the dataset card, as in cc-by-4.0.")
def command(study: str, into: Path | None, licence: str | None) -> None:
    """Pack STUDY into one zip: results, study file, the code of every pruner, tables, a dataset card.

    STUDY is a study's name, its TOML file, its results folder or its results file; it may be running. The same results
    give the same bytes.
    """
    from harness import packing
    from harness.console import plain
    from harness.recorded import results_file

    packed = packing.write(results_file(study), into, licence)
    counts = packed.counts
    click.echo(plain(f"{packed.path}: {counts['scores']} of {counts['cells']} cells have a result"))
    click.echo(f"sha256 {packed.sha256}")
