"""What the calibration does to a number: its text, the number of its windows, and the seed that places them.

    python -m benchmarks.calibration --target testbed-llama --sources bundled,random --samples 4,16 --seeds 0,1,2

Prints a Markdown table with a row for each pruner, source and number of windows: the perplexity over the seeds
(geometric mean), and its least and most. The evaluation is the same in all rows, and reference pruners alone are run.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence

from harness import console, pruners
from harness.errors import HarnessError
from harness.pipeline import open_bench
from harness.records import Sparsity

HEADINGS = ("pruner", "calibration", "windows", "seeds", "perplexity", "least", "most")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every combination and print the table, row by row."""
    options = parsed(arguments)
    sparsity = Sparsity.parse(options.sparsity)
    names = options.pruners.split(",")
    known = pruners.references()
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"--pruners {','.join(unknown)}: give reference pruners, of {', '.join(known)}")
    for number, source in enumerate(options.sources.split(",")):
        for samples in options.samples:
            found: dict[str, list[float]] = {name: [] for name in names}
            for seed in options.seeds:
                bench = open_bench(
                    options.target,
                    calibration=source,
                    calibration_samples=samples,
                    evaluation=options.eval,
                    eval_windows=options.eval_windows,
                    sandbox=options.sandbox,
                    seed=seed,
                )
                if number == 0 and not any(found.values()) and samples == options.samples[0]:
                    print_heading(f"{options.target} at {sparsity.label}", bench.dense_perplexity)
                for name in names:
                    score = bench.score(pruners.find(name), sparsity)
                    console.notice(f"{name}, {source}, {samples} windows, seed {seed}: {score.status}")
                    found[name] += [] if score.perplexity is None else [score.perplexity]
            for name, perplexities in found.items():
                print(table_row(name, source, samples, perplexities), flush=True)


def table_row(pruner: str, source: str, samples: int, perplexities: Sequence[float]) -> str:
    """One row of the table; numbers are empty where nothing could be measured."""
    cells = [pruner, source, str(samples), str(len(perplexities))]
    if perplexities:
        mean = math.exp(math.fsum(math.log(value) for value in perplexities) / len(perplexities))
        cells += [f"{value:.3f}" for value in (mean, min(perplexities), max(perplexities))]
    else:
        cells += ["", "", ""]
    return f"| {' | '.join(cells)} |"


def print_heading(what: str, dense: float) -> None:
    """What the table is of, and its first two lines."""
    print(f"{what}; dense perplexity {dense:.3f}\n")
    print(f"| {' | '.join(HEADINGS)} |\n|{' --- |' * len(HEADINGS)}", flush=True)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", default="testbed-llama")
    parser.add_argument("--sparsity", default="0.5", help="a ratio, n:m, or a structure such as rows:0.5 [%(default)s]")
    parser.add_argument("--pruners", default="wanda,sparsegpt", help="reference pruners [%(default)s]")
    parser.add_argument("--sources", default="bundled,random", help="calibration texts [%(default)s]")
    parser.add_argument("--samples", type=integers(1), default="4,16,64", help="calibration windows [%(default)s]")
    parser.add_argument("--seeds", type=integers(0), default="0,1,2", help="of the windows' places [%(default)s]")
    parser.add_argument("--eval", default="bundled", help="text to measure on [%(default)s]")
    parser.add_argument("--eval-windows", type=int, help="evaluation windows [the target's own]")
    parser.add_argument("--sandbox", choices=["auto", "docker", "bubblewrap"], default="auto")
    return parser.parse_args(arguments)


def integers(least: int) -> Callable[[str], list[int]]:
    """A reader of integers with commas between them, for argparse."""

    def read(text: str) -> list[int]:
        numbers = [int(part) for part in text.split(",")]
        if min(numbers) < least:
            raise argparse.ArgumentTypeError(f"{text!r}: give numbers of at least {least}, as in 4,16")
        return numbers

    return read


if __name__ == "__main__":
    try:
        main()
    except HarnessError as error:
        sys.exit(str(error))
