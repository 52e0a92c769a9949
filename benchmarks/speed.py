"""Time and memory of one prune and one score: the harness, the papers' own code, and the floor of this machine.

    python -m benchmarks.speed --wanda CHECKOUT --sparsegpt CHECKOUT --calibration calib.npy --evaluation eval.npy

Every measurement is one fresh process; the two sides take turns, `--runs` times, and the tables show medians. Both have
the same model, tokens, sparsity, dtype and threads. The first table has for each method:

- `prune`, `score`: seconds of the harness, of the official code, and the ratio harness / official. Below 1 the harness
  is faster. Loading the model is counted on neither side; the harness reads weights from disk while it prunes and
  scores, and that is counted. So is the import of transformers in its worker, one to three seconds in each prune that
  needs statistics, which the official code has done when its clock starts.
- `perplexity`: of both, so that it can be seen that the same work was done.
- `peak MiB`: of the harness the larger of the sandbox's process and the scoring process, and of the official one.

The second has the floor: what the matrix products alone take at the rates which torch reaches at their shapes in this
run (see benchmarks/floor.py), and how many times that the harness took. Of `wanda` the floor of pruning is two passes
of the blocks, less the last layer of each block in the first pass and the last block in the second; of `sparsegpt` the
Hessians, their factorisations and the updates across column blocks come on top.

Without `--wanda` and `--sparsegpt` only the harness and the floor are measured.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Any

import torch

from benchmarks import official
from benchmarks.floor import Floor
from benchmarks.ours import SANDBOXES
from benchmarks.process import fresh
from benchmarks.tables import absolute, check_token_files, heading, mebibytes, number, ratio, row
from harness import console
from harness.conversion import open_target
from harness.errors import HarnessError
from harness.text import windows

METHODS = ("magnitude", "wanda", "sparsegpt")
COLUMNS = (
    *("method", "prune s", "official", "ratio", "score s", "official", "ratio"),
    *("perplexity", "official", "peak MiB", "official"),
)
Run = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print both tables."""
    options = parsed(arguments)
    methods = options.methods.split(",")
    paths = official.given_paths(options)
    found: dict[str, tuple[list[Run], list[Run]]] = {name: ([], []) for name in methods}
    for number_of_run in range(options.runs):
        for name in methods:
            console.notice(f"run {number_of_run + 1} of {options.runs}: {name}")
            if name in METHODS:
                found[name][0].append(measured(options, name))
            if paths:
                found[name][1].append(official_run(options, name, paths))
    print(f"{options.model}, sparsity {options.sparsity}, {options.dtype}, {options.threads} threads,")
    print(f"medians of {options.runs} runs, sandbox {options.sandbox}\n")
    print(heading(COLUMNS))
    for name in methods:
        print(row(name, *cells(*found[name])))
    print_floor(options, {name: runs for name, (runs, _) in found.items() if runs})


def measured(options: argparse.Namespace, method: str) -> Run:
    """One run of the harness."""
    found = fresh(
        "benchmarks.ours:measure", ours_arguments(options, [method], [str(options.sparsity)]), options.threads
    )
    (cell,) = found["cells"]
    if cell["perplexity"] is None:
        sys.exit(f"{method}: the harness gave {cell['status']}, and there is nothing to compare")
    peaks = cell.pop("worker_peak") or 0, found["peak_bytes"]
    return {**cell, "peak_bytes": max(peaks)}


def ours_arguments(options: argparse.Namespace, names: list[str], sparsities: list[str]) -> dict[str, Any]:
    """What `benchmarks.ours.measure` is called with."""
    return {
        "names": names,
        "sparsities": sparsities,
        "sandbox": options.sandbox,
        "target": absolute(options.model),
        "calibration": f"tokens:{absolute(options.calibration)}",
        "evaluation": f"tokens:{absolute(options.evaluation)}",
        "timeout_seconds": options.timeout,
        "dtype": None if options.dtype == "float32" else options.dtype,
    }


def official_run(options: argparse.Namespace, method: str, paths: dict[str, str], sparsity: float | None = None) -> Run:
    """One run of the official code, at `options.sparsity` unless told otherwise."""
    arguments = {
        "method": method,
        "folder": str(open_target(options.model).folder.resolve()),
        "calibration": absolute(options.calibration),
        "evaluation": absolute(options.evaluation),
        "sparsity": options.sparsity if sparsity is None else sparsity,
        "dtype": options.dtype,
        "paths": paths,
    }
    return fresh("benchmarks.official:measure", arguments, options.threads)


def cells(ours: list[Run], theirs: list[Run]) -> list[str]:
    """The numbers of one row; empty where a side was not measured."""
    result = []
    for name in ("prune_seconds", "score_seconds"):
        pair = middle(ours, name), middle(theirs, name)
        result += [number(pair[0], 2), number(pair[1], 2), ratio(*pair)]
    result += [number(middle(runs, "perplexity"), 3) for runs in (ours, theirs)]
    return result + [mebibytes(middle(runs, "peak_bytes")) for runs in (ours, theirs)]


def middle(runs: list[Run], name: str) -> float | None:
    """The median of one number; None where there is none."""
    values = [run[name] for run in runs if run.get(name) is not None]
    return median(values) if values else None


def print_floor(options: argparse.Namespace, found: dict[str, list[Run]]) -> None:
    """The second table."""
    torch.set_num_threads(options.threads)
    target = open_target(options.model)
    read = partial(windows, target=target, seqlen=None, count=None, seed=0)
    calibration = read(f"tokens:{absolute(options.calibration)}", "calibration").ids.shape
    evaluation = read(f"tokens:{absolute(options.evaluation)}", "evaluation").ids.shape
    floor = Floor(target, options.batch_tokens, getattr(torch, options.dtype))
    passes = floor.seconds(floor.pruning(*calibration))
    extra = floor.seconds(floor.hessians(*calibration), hessian=True) + floor.factorisations()
    floors = {"wanda": passes, "sparsegpt": passes + extra + floor.seconds(floor.updates())}
    scoring = floor.scoring(*evaluation)
    score = floor.seconds(scoring)
    rate = sum(product.flops * product.share for product in scoring) / score / 1e9
    print(f"\nThe floor, at {rate:.0f} GFLOP/s while scoring, {options.batch_tokens} tokens a batch:\n")
    print(heading(("step", "floor s", "harness s", "harness / floor")))
    for name, seconds in floors.items():
        ours = middle(found.get(name, []), "prune_seconds")
        print(row(f"prune, {name}", number(seconds, 2), number(ours, 2), ratio(ours, seconds)))
    ours = middle([run for runs in found.values() for run in runs], "score_seconds")
    print(row("score", number(score, 2), number(ours, 2), ratio(ours, score)))


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """What is compared on."""
    official.add_paths(parser)
    parser.add_argument(
        "--model", default="smollm2-135m", help="target's name or folder, Llama architecture [%(default)s]"
    )
    parser.add_argument("--calibration", required=True, metavar="FILE.npy", help="token ids, int [n, seqlen]")
    parser.add_argument("--evaluation", required=True, metavar="FILE.npy", help="token ids, int [n, seqlen]")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--sandbox", choices=SANDBOXES, default="trusted", help="where the harness prunes [%(default)s]"
    )
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds of one prune [%(default)s]")


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_inputs(parser)
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument(
        "--methods", default=",".join(METHODS), help="with commas; also sparsegpt_original [%(default)s]"
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--batch-tokens", type=int, default=512, help="of the floor's products [%(default)s]")
    options = parser.parse_args(arguments)
    if unknown := set(options.methods.split(",")) - set(official.METHODS):
        parser.error(f"--methods {','.join(sorted(unknown))}: give some of {', '.join(official.METHODS)}")
    if options.runs < 1 or options.threads < 1:
        parser.error("--runs and --threads: give at least 1")
    check_token_files(parser, options)
    return options


if __name__ == "__main__":
    try:
        main()
    except HarnessError as error:
        sys.exit(str(error))
