"""How long a report and a resumption take with many stored results.

    python -m benchmarks.results --runs 5
    python -m benchmarks.results --runs 5 --pruners 110 --results 1430 --levels paper --pages

Writes a study of `--pruners` pruners, ten of them the harness's own, at 10 sparsities, or at the 13 of the draft, on as
many targets as give `--results` results: scores made of names with 40 window losses each, a sixth of the candidates
failing, and masks with as large a sample as a real target gives. Then `harness report --no-pages` (with `--pages` it
without, too) and a `harness study run` that finds nothing to do run `--runs` times each, in fresh processes.
Columns: seconds of each run as the clock has them, their median, and the size of all files of the report, which must
have the same bytes each time. The processes start python and import their libraries: that is part of it.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.tables import heading, row
from harness import metrics
from harness.overlap import SAMPLE
from harness.planning import plan
from harness.pruners import references
from harness.records import Score, Sparsity, Zeros
from harness.status import Status
from harness.store import Cell, Plan, Store
from harness.study import Study, parse
from harness.testing.fake_bench import FakeLab, fake_score

LEVELS = {
    "mixed": ("0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "2:4", "4:8", "rows:0.5"),
    "paper": ("0.01", "0.05", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "0.95", "0.99"),
}
REFERENCES, WINDOWS, LAYERS = 10, 40, 210
FAILING = 6
"""One candidate of so many."""
COLUMNS = ("command", "seconds", "median s", "MiB")
CODE = "def prune(task):\n    pass  # {}\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the study, run the commands, print the table."""
    options = parsed(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = described(folder, options.pruners, options.results, LEVELS[options.levels])
        count = written(study, folder)
        shape = f"{len(study.pruners)} pruners, {len(study.sparsities)} sparsities, {len(study.targets)} targets"
        print(f"{count} results: {shape}, {WINDOWS} windows; {options.runs} runs\n\n{heading(COLUMNS)}")
        commands = {"report --no-pages": ["report", "many", "--no-pages"], "study run": ["study", "run", "many.toml"]}
        if options.pages:
            commands["report"] = ["report", "many"]
        for label, words in commands.items():
            found = [measured(words, folder) for _ in range(options.runs)]
            seconds = [one for one, _ in found]
            if len({content for _, content in found}) > 1:
                sys.exit(f"harness {' '.join(words)} did not write the same bytes each time")
            report = list(folder.glob("results/many/report/**/*.*"))
            size = f"{sum(file.stat().st_size for file in report) / (1 << 20):.1f}" if words[0] == "report" else ""
            print(row(label, " ".join(f"{one:.2f}" for one in seconds), f"{median(seconds):.2f}", size))


def described(folder: Path, pruners: int, results: int, sparsities: Sequence[str]) -> Study:
    """The study file and the pruners that are files, in `folder`, from which the commands are called."""
    names = references()[: min(REFERENCES, pruners)]
    for number in range(pruners - len(names)):
        names.append(f"own{number:04}.py")
        (folder / names[-1]).write_text(CODE.format(number))
    targets = [f"target-{number:03}" for number in range(math.ceil(results / (len(sparsities) * len(names))))]
    lists = {"targets": targets, "sparsities": sparsities, "pruners": names}
    lines = ['name = "many"', *(f"{key} = [{', '.join(map(repr, values))}]" for key, values in lists.items())]
    (folder / "many.toml").write_text("\n".join(lines) + "\n")
    return parse((folder / "many.toml").read_text(), "many.toml")


def written(study: Study, folder: Path) -> int:
    """The results of the study, as they would stand after its run; how many there are."""
    here = Path.cwd()
    os.chdir(folder)  # as pruners are looked for
    try:
        cells = plan(study)
    finally:
        os.chdir(here)
    lab = FakeLab()
    with Store(folder / "results" / "many" / "results.sqlite") as store:
        store.save_plan(Plan(study.name, study.source, study.settings, "docker", tuple(cells)))
        for target in study.targets:
            bench = lab.open_bench(target)
            store.add_measurement(target, bench.measurement, bench.dense_losses)
            store.add_environment(*bench.environment)
        store.connection.execute("PRAGMA synchronous = OFF")  # a result a transaction: nothing is to be kept
        for cell in cells:
            store.add_score(cell, scored(cell), bench.environment[0])
    return len(cells)


def scored(cell: Cell) -> Score:
    """A score that depends on the cell's names alone."""
    random = np.random.default_rng(int(sha256(repr(cell.key).encode()).hexdigest()[:12], 16))
    author = "human" if cell.pruner in references() else "model"
    common: dict[str, Any] = {"target": cell.target, "author": author}
    if author == "model" and int(sha256(cell.pruner.encode()).hexdigest()[:6], 16) % FAILING == 0:
        return fake_score(cell.pruner, cell.sparsity, status=Status.RUNTIME_ERROR, **common)
    shared = np.random.default_rng(int(sha256(cell.target.encode()).hexdigest()[:12], 16)).normal(3, 0.4, WINDOWS)
    losses = tuple((shared + random.gamma(4, 0.02, WINDOWS) + random.random() / 10).tolist())
    low, high = metrics.interval(losses) or (math.nan, math.nan)
    ratio = Sparsity.parse(cell.sparsity).ratio
    sample = np.packbits(random.random(SAMPLE) < ratio).tobytes()
    zeros = Zeros(tuple(random.random(LAYERS).tolist()), sample, sha256(sample).hexdigest())
    numbers: dict[str, Any] = {"window_losses": losses, "perplexity_low": low, "perplexity_high": high, "zeros": zeros}
    return fake_score(cell.pruner, cell.sparsity, perplexity=metrics.perplexity(losses), **numbers, **common)


def measured(words: Sequence[str], folder: Path) -> tuple[float, str]:
    """Seconds of one command in a process of its own, and a digest of the report that is there then."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent), "COLUMNS": "120"}
    command = [sys.executable, "-m", "harness", "-q", *words]
    started = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"harness {' '.join(words)} ended with {done.returncode}: {done.stderr.strip()}")
    seconds = time.monotonic() - started
    content = sha256()
    for file in sorted(folder.glob("results/many/report/**/*.*")):
        content.update(str(file).encode() + file.read_bytes())
    return seconds, content.hexdigest()


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=int, default=10_000, help="at least so many [%(default)s]")
    parser.add_argument("--pruners", type=int, default=50, help="of each ranking [%(default)s]")
    parser.add_argument("--levels", choices=list(LEVELS), default="mixed", help="[%(default)s]")
    parser.add_argument("--pages", action="store_true", help="measure the pages for a browser, too")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args(arguments)
    if min(options.results, options.pruners, options.runs) < 1:
        parser.error("--results, --pruners and --runs: give at least 1")
    return options


if __name__ == "__main__":
    main()
