"""`harness pruners`: what can be run by name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from harness.cli._options import json_option

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command()
@json_option
def command(json_file: str | None) -> None:
    """List the reference pruners and the archived candidates."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from harness.cli._output import write_json
    from harness.console import plain

    rows = list(_rows())
    write_json(json_file, rows)
    if json_file == "-":
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("pruner", "author", "model", "state"):
        table.add_column(column, overflow="fold")
    for row in rows:
        texts = (row["pruner"], row["author"], row["model"] or "", row["status"] or "code")
        if row["author"] == "human":
            texts = (row["pruner"], "human", "", row["status"] or "")
        table.add_row(*(Text(plain(text, 80)) for text in texts))
    # names in a pipe or a file are for copying: never cut or folded there
    Console(highlight=False, width=None if sys.stdout.isatty() else 1000).print(table)


def _rows() -> Iterator[dict[str, Any]]:
    """One row for each pruner; a candidate that was changed is shown as such, and hides no other."""
    from harness import pruners
    from harness.errors import HarnessError

    for name in [*pruners.references(), *pruners.candidates()]:
        try:
            pruner = pruners.find(name)
        except HarnessError as error:
            yield {"pruner": name, "author": "model", "model": None, "idea": None, "status": "unusable",
                   "message": str(error)}  # fmt: skip
            continue
        yield {
            "pruner": pruner.name,
            "author": pruner.author,
            "model": pruner.model,
            "idea": pruner.idea,
            "status": pruner.status,
            "message": pruner.message,
        }
