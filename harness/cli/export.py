"""`harness export PRUNER`: a pruned model as a Hugging Face folder."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli._options import bench_options, extra_options, json_option


@click.command()
@click.argument("pruner_name", metavar="PRUNER")
@click.option("--target", required=True, help="smollm2-135m, testbed-llama, testbed-opt, a model folder, a hub id.")
@click.option("--sparsity", "sparsity_text", required=True, help="As in harness run: 0.5, 2:4 or rows:0.5.")
@click.option("--into", required=True, type=click.Path(path_type=Path), help="Folder to make; new or empty.")
@bench_options
@extra_options
@json_option
def command(
    pruner_name: str,
    target: str,
    sparsity_text: str,
    into: Path,
    json_file: str | None,
    **bench_arguments: object,
) -> None:
    """Prune TARGET with PRUNER in the sandbox, and write the model as a Hugging Face folder.

    The folder is reloaded, its zeros counted and its perplexity measured again before it gets its name. Exit status:
    1 when the pruner failed, so that there is nothing to write.
    """
    from harness import console
    from harness.cli._output import check_writable, print_scores, print_texts, short, write_json
    from harness.pruners import find
    from harness.records import Sparsity

    pruner = find(pruner_name)
    sparsity = Sparsity.parse(sparsity_text)
    check_writable(json_file)
    from harness.export import check_folder, export
    from harness.pipeline import open_bench

    check_folder(into)
    bench = open_bench(target, **bench_arguments)  # type: ignore[arg-type]
    console.notice(f"{short(pruner.name)} at {sparsity.label} on {target}")
    exported = export(bench, pruner, sparsity, into)
    if json_file != "-":
        print_scores([exported.score], bench.measurement, bench.extras)
        if bench.dense_text is not None:
            print_texts([exported.score], bench.dense_text)
    write_json(json_file, [exported.score.to_json(bench.extras)])
    if exported.dtype is None:
        status = exported.score.status
        click.echo(f"harness: {short(pruner.name)} at {sparsity.label}: {status}; nothing was written", err=True)
        sys.exit(1)
    console.notice(console.plain(f"{into}: reloaded, with the same zeros and perplexity; loads in {exported.dtype}"))
