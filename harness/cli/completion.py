"""`harness completion`: the script that completes commands, options and ideas in a shell."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL, as in: eval "$(harness completion bash)"."""
    from click.shell_completion import get_completion_class

    from harness.cli import cli

    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(cli, {}, "harness", "_HARNESS_COMPLETE").source())
