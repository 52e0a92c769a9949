"""`harness verify FILE.zip`: see that a pack is whole."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("file", metavar="FILE.zip", type=click.Path(path_type=Path))
def command(file: Path) -> None:
    """Check every byte of a pack. Exit status: 3 when it is damaged; the line says which member."""
    from harness import pack
    from harness.console import plain

    found = pack.verify(file)
    study = " ".join(plain(str(found.manifest.get("study")), 100).split())
    click.echo(plain(f"{file}: whole, {len(found.members)} members of study {study}", 300))
    click.echo(f"sha256 {found.sha256}")
