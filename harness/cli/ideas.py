"""`harness ideas`: the pruning ideas that a generator can be asked for."""

from __future__ import annotations

from dataclasses import asdict

import click

from harness.cli._options import json_option


@click.command()
@json_option
def command(json_file: str | None) -> None:
    """List the ideas; the numbers are those of the paper's Table 4. Their descriptions are in --json."""
    from harness.cli._output import write_json
    from harness.stages.idea import ideas

    known = ideas()
    write_json(json_file, [asdict(idea) for idea in known])
    if json_file != "-":
        for idea in known:
            click.echo(f"{idea.number or '':>2}  {idea.title}")
        click.echo("--idea takes the number, the title or the slug, as in l1-norm-pruning")
