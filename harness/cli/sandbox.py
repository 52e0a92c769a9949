"""`harness sandbox build`."""

from __future__ import annotations

from pathlib import Path

import click

from harness import console


@click.group
def command() -> None:
    """The image that generated code runs in."""


@command.command
@click.option("--base", metavar="IMAGE", help="Image to build on; its Python must have the harness's minor version.")
@click.option(
    "--wheels",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Install from this folder of wheels (made with pip download) instead of a package index.",
)
def build(base: str | None, wheels: Path | None) -> None:
    """Build the sandbox image; only what has changed since the last time."""
    from harness.sandboxes import image

    click.echo(image.build(base, wheels, console.notice))
