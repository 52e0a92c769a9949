"""`harness evaluate`: tasks of lm-eval on an exported folder, or on any target."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli._options import json_option


@click.command()
@click.argument("model", metavar="FOLDER|TARGET")
@click.option("--tasks", required=True, help="Tasks or groups of lm-eval, as in piqa,arc_easy.")
@click.option("--limit", type=click.IntRange(1), help="Samples of each task [all].")
@click.option(
    "--include-path",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of further task files, your own.",
)
@json_option
def command(model: str, tasks: str, limit: int | None, include_path: Path | None, json_file: str | None) -> None:
    """Run tasks of lm-eval on a model folder that `harness export` wrote, or on a dense target.

    Needs pip install '.[lm-eval]' in the harness's checkout. The tasks' data come from the hub, unless your own task
    files say otherwise.
    """
    from dataclasses import asdict

    from harness.cli._output import check_writable, write_json
    from harness.errors import UsageError
    from harness.lm_eval import check_installed, evaluate

    names = [name.strip() for name in tasks.split(",")]
    if not all(names):
        raise UsageError(f"--tasks {tasks!r}: give names with commas between them, as in piqa,arc_easy")
    check_writable(json_file)
    check_installed()
    from harness.conversion import open_target

    results = evaluate(open_target(model), names, limit, include_path)
    write_json(json_file, [{"model": model, **asdict(result)} for result in results])
    if json_file != "-":
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("task", "metric", "value", "± stderr", "samples"):
            table.add_column(heading, justify="left" if heading in ("task", "metric") else "right")
        for result in results:
            error = "" if result.stderr is None else f"{result.stderr:.4f}"
            cells = (result.task, result.metric, f"{result.value:.4f}", error, str(result.samples))
            table.add_row(*(Text(cell) for cell in cells))
        Console(highlight=False).print(table)
