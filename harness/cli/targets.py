"""`harness targets`: the models that can be pruned."""

from __future__ import annotations

import click

from harness.cli._options import json_option


@click.command()
@json_option
def command(json_file: str | None) -> None:
    """List the named targets; a local Hugging Face folder or a hub id is a target too."""
    from harness.cli._output import write_json
    from harness.targets import NAMED

    write_json(json_file, [{"name": name, "description": text} for name, text in NAMED.items()])
    if json_file != "-":
        for name, text in NAMED.items():
            click.echo(f"{name:<14} {text}")
        click.echo("FOLDER         any local Hugging Face model folder with safetensors")
        click.echo("ORG/NAME       a model of the hub, where it can be reached")
