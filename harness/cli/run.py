"""`harness run PRUNER...`: sandbox, check, score."""

from __future__ import annotations

import click

from harness.cli._options import bench_options, extra_options, json_option


@click.command()
@click.argument("pruners", nargs=-1, metavar="PRUNER...", required=True)
@click.option("--target", required=True, help="smollm2-135m, testbed-llama, testbed-opt, a model folder, a hub id.")
@click.option(
    "--sparsity",
    "sparsities",
    required=True,
    help="Ratios, n:m patterns, structures, as in 0.5,2:4,rows:0.5 (columns:, heads:).",
)
@bench_options
@extra_options
@click.option("--repeat", is_flag=True, help="Run each pruner twice, and say whether the same weights come out.")
@json_option
def command(
    pruners: tuple[str, ...],
    target: str,
    sparsities: str,
    repeat: bool,
    json_file: str | None,
    **bench_arguments: object,
) -> None:
    """Prune TARGET with each PRUNER in the sandbox, check the result, and measure its perplexity.

    PRUNER is a reference's name, a path to a .py file, or an archived candidate's id.
    """
    from harness import console
    from harness.cli._output import check_writable, print_scores, print_texts, short, write_json
    from harness.errors import Fault
    from harness.pruners import find
    from harness.records import Score, Sparsity

    found = [find(name) for name in pruners]
    wanted = list(dict.fromkeys(Sparsity.parse(text) for text in sparsities.split(",")))
    check_writable(json_file)
    from harness.pipeline import open_bench

    bench = open_bench(target, **bench_arguments)  # type: ignore[arg-type]
    for sparsity in wanted:
        bench.check_sparsity(sparsity)
    scores: list[Score] = []
    faults: list[Fault] = []
    cells = len(found) * len(wanted)
    with console.progress(f"{len(found)} pruners on {target}", cells) as bar:
        for sparsity in wanted:
            for pruner in found:
                console.notice(f"{short(pruner.name)} at {sparsity.label} on {target}")
                try:
                    more = len(scores) + 1 < cells
                    scores.append(bench.score(pruner, sparsity, more=more, again=repeat))
                except Fault as fault:
                    faults.append(fault)
                    scores.append(bench.faulted(pruner, sparsity, fault.status, str(fault)))
                bar.advance()
    extras = (*bench.extras, *(["repeatable"] if repeat else []))
    if json_file != "-":
        print_scores(scores, bench.measurement, extras)
        if bench.dense_text is not None:
            print_texts(scores, bench.dense_text)
    write_json(json_file, [score.to_json(extras) for score in scores])
    if faults:
        raise faults[-1]
