"""`harness data STUDY`: results as tables for other programs, or in an experiment tracker."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("study")
@click.option("--into", type=click.Path(path_type=Path, file_okay=False), help="Folder for one file a table.")
@click.option(
    "--format", "form", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True, help="Of the files."
)
@click.option("--mlflow", "mlflow_uri", metavar="URI", help="Tracking store, as in sqlite:///mlflow.db.")
@click.option("--wandb", "wandb_project", metavar="PROJECT", help="Project, or ENTITY/PROJECT, of Weights & Biases.")
def command(study: str, into: Path | None, form: str, mlflow_uri: str | None, wandb_project: str | None) -> None:
    """Write the results of STUDY as tables, or log them to MLflow or Weights & Biases.

    STUDY is a study's name, its TOML file, its results folder, its results file or a pack. In a tracker, each pruner
    and target is one run, with perplexity by sparsity. docs/data.md has the columns.
    """
    from harness.console import plain
    from harness.errors import UsageError

    if not (into or mlflow_uri or wandb_project):
        raise UsageError("say where to: --into FOLDER, --mlflow URI or --wandb PROJECT")
    from harness import frames, tables
    from harness.exporters import mlflow, runs, wandb

    if into:
        tables.check_installed(form)
    if mlflow_uri:
        mlflow.check_installed()
    if wandb_project:
        wandb.check_installed()
    found = frames.load(study)
    if into:
        for path in tables.write(found, into, form):
            click.echo(plain(str(path)))
    listed = runs.runs(found)
    if mlflow_uri:
        new = mlflow.export(found.name, listed, mlflow_uri)
        click.echo(f"MLflow: {new} new runs, {len(listed) - new} were there")
    if wandb_project:
        click.echo(f"W&B: {wandb.export(found.name, listed, wandb_project)} runs")
