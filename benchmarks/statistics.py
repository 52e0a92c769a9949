"""What `statistics = dense` saves: ten pruners with sequential statistics, and with those of the dense model.

    python -m benchmarks.statistics --calibration calib.npy --evaluation eval.npy

Writes ten small pruners with saliencies made of the weight, the input norms and the Hessian's diagonal, and runs all of
them at one sparsity in one process, once in each mode, alternating `--runs` times. Columns: seconds of all prunes, of
all sandboxes with their start, of the whole study with its scores, and geometric mean perplexity, which shows what the
choice does to the number. The last row is dense / sequential.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.ours import SANDBOXES
from benchmarks.process import fresh
from benchmarks.tables import absolute, heading, number, ratio, row
from harness import console
from harness.errors import HarnessError

MODES = ("sequential", "dense")
COLUMNS = ("statistics", "prune s", "sandbox s", "study s", "perplexity")
PRUNER = '''"""Saliency: {saliency}, compared within each row."""

from sandbox.interface import Task
from sandbox.masks import keep_largest


def prune(task: Task) -> None:
    for layer in task.layers():
        weight = layer.weight.abs()
        layer.keep(keep_largest({saliency}, task.sparsity, "row"))
'''
SALIENCIES = {
    "norm": "weight * layer.input_norm",
    "norm_root": "weight * layer.input_norm.sqrt()",
    "norm_square": "weight * layer.input_norm.square()",
    "norm_weight_square": "weight.square() * layer.input_norm",
    "norm_weight_root": "weight.sqrt() * layer.input_norm",
    "norm_relative": "weight * (layer.input_norm / layer.input_norm.mean() + 1)",
    "diagonal": "weight * layer.hessian.diagonal().sqrt()",
    "diagonal_square": "weight.square() * layer.hessian.diagonal()",
    "diagonal_root": "weight * layer.hessian.diagonal().sqrt().sqrt()",
    "diagonal_damped": "weight * (layer.hessian.diagonal() + 0.01 * layer.hessian.diagonal().mean()).sqrt()",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    options = parsed(arguments)
    found: dict[str, list[dict[str, float]]] = {mode: [] for mode in MODES}
    with tempfile.TemporaryDirectory() as folder:
        files = written(Path(folder))
        for run in range(options.runs):
            for mode in MODES:
                console.notice(f"run {run + 1} of {options.runs}: {mode}")
                found[mode].append(measured(options, files, mode))
    print(f"{options.model}, {len(files)} pruners at {options.sparsity}, {options.threads} threads,")
    print(f"medians of {options.runs} runs, sandbox {options.sandbox}\n\n{heading(COLUMNS)}")
    middle = {mode: {name: median(run[name] for run in runs) for name in runs[0]} for mode, runs in found.items()}
    for mode in MODES:
        *seconds, perplexity = middle[mode].values()
        print(row(mode, *(number(value, 2) for value in seconds), number(perplexity, 3)))
    pairs = zip(middle["dense"].values(), middle["sequential"].values(), strict=True)
    print(row("dense / sequential", *(ratio(value, other) for value, other in pairs)))


def written(folder: Path) -> list[str]:
    """The ten pruners as files."""
    files = [folder / f"{name}.py" for name in SALIENCIES]
    for file, saliency in zip(files, SALIENCIES.values(), strict=True):
        file.write_text(PRUNER.format(saliency=saliency))
    return [str(file) for file in files]


def measured(options: argparse.Namespace, files: list[str], mode: str) -> dict[str, float]:
    """One study: seconds of its prunes, of its sandboxes and of all, and the geometric mean of its perplexities."""
    arguments: dict[str, Any] = {
        "names": files,
        "sparsities": [options.sparsity],
        "sandbox": options.sandbox,
        "target": absolute(options.model),
        "calibration": f"tokens:{absolute(options.calibration)}",
        "evaluation": f"tokens:{absolute(options.evaluation)}",
        "statistics": mode,
    }
    found = fresh("benchmarks.ours:measure", arguments, options.threads)
    if failed := [cell for cell in found["cells"] if cell["perplexity"] is None]:
        sys.exit(f"{Path(failed[0]['pruner']).name} gave {failed[0]['status']}: nothing to compare")
    return {
        "prune": sum(cell["prune_seconds"] for cell in found["cells"]),
        "sandbox": sum(cell["sandbox_seconds"] for cell in found["cells"]),
        "study": found["seconds"],
        "perplexity": math.exp(math.fsum(math.log(cell["perplexity"]) for cell in found["cells"]) / len(files)),
    }


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m", help="target's name or folder [%(default)s]")
    parser.add_argument("--calibration", required=True, metavar="FILE.npy", help="token ids, int [n, seqlen]")
    parser.add_argument("--evaluation", required=True, metavar="FILE.npy", help="token ids, int [n, seqlen]")
    parser.add_argument("--sparsity", default="0.5")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sandbox", choices=SANDBOXES, default="trusted", help="where to prune [%(default)s]")
    options = parser.parse_args(arguments)
    if options.runs < 1 or options.threads < 1:
        parser.error("--runs and --threads: give at least 1")
    return options


if __name__ == "__main__":
    try:
        main()
    except HarnessError as error:
        sys.exit(str(error))
