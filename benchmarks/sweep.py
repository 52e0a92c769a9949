"""Table 1 of the paper draft as one command: its levels times four methods, against the official code.

    python -m benchmarks.sweep --wanda CHECKOUT --calibration calib.npy --evaluation eval.npy --levels 0.5

The harness prunes and scores all cells in one process, as `harness study run` does; the model is read, and its dense
score taken, once (`opening s`). The official code runs as its scripts do, one process for each level and method:
each loads the model (`load s`, not in `total s`). Rows:

- `magnitude, wanda, sparsegpt`: what both can do, and the ratio harness / official of the totals. `total s` of the
  harness is all that passes between the first cell and the last, the start of every sandbox included; of the official
  code it is pruning and scoring.
- `movement`: the harness alone, for the official code has none.

The time does not depend on the level. With `--levels` fewer are run, and the times are scaled up to all 13; the program
says so. `perplexity` stands below, for each cell and side.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import official
from benchmarks.process import fresh
from benchmarks.speed import METHODS, add_inputs, official_run, ours_arguments
from benchmarks.tables import check_token_files, heading, number, ratio, row
from harness import console
from harness.errors import HarnessError

LEVELS = ("0.01", "0.05", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "0.95", "0.99")
"""Of Table 1."""
OURS_ALONE = "movement"
COLUMNS = ("methods", "total s", "official", "ratio", "opening s", "official load s")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print both tables."""
    options = parsed(arguments)
    levels, paths = options.levels, official.given_paths(options)
    scale = len(LEVELS) / len(levels)
    found = ours(options, list(METHODS), levels)
    alone = ours(options, [OURS_ALONE], levels)
    theirs: dict[tuple[str, str], dict[str, Any]] = {}
    for level in levels if paths else ():
        for name in METHODS:
            console.notice(f"official {name} at {level}")
            theirs[name, level] = official_run(options, name, paths, float(level))
    runs = theirs.values()
    total = scale * sum(run["prune_seconds"] + run["score_seconds"] for run in runs) if runs else None
    load = scale * sum(run["load_seconds"] for run in runs) if runs else None
    print(
        f"{options.model}, {options.dtype}, {options.threads} threads, sandbox {options.sandbox}, {len(LEVELS)} levels"
    )
    if scale > 1:
        print(
            f"measured at {', '.join(levels)} alone, and scaled by {scale:.2f}: the time does not depend on the level"
        )
    print(f"\n{heading(COLUMNS)}")
    mine = scale * found["seconds"]
    opening = number(found["opening_seconds"], 1)
    print(row(", ".join(METHODS), number(mine, 1), number(total, 1), ratio(mine, total), opening, number(load, 1)))
    print(row(OURS_ALONE, number(scale * alone["seconds"], 1), "", "", number(alone["opening_seconds"], 1), ""))
    print(f"\n{heading(('method', 'sparsity', 'status', 'perplexity', 'official'))}")
    for cell in [*found["cells"], *alone["cells"]]:
        name, level = cell["pruner"], cell["sparsity"]
        other = theirs.get((name, level), {}).get("perplexity")
        print(row(name, level, cell["status"], number(cell["perplexity"], 3), number(other, 3)))


def ours(options: argparse.Namespace, methods: list[str], levels: Sequence[str]) -> dict[str, Any]:
    """All cells of some methods, in one process."""
    return fresh("benchmarks.ours:measure", ours_arguments(options, methods, list(levels)), options.threads)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_inputs(parser)
    parser.add_argument("--levels", default=",".join(LEVELS), help="which to run, with commas [%(default)s]")
    options = parser.parse_args(arguments)
    options.levels = options.levels.split(",")
    if unknown := [level for level in options.levels if level not in LEVELS]:
        parser.error(f"--levels {','.join(unknown)}: give some of {','.join(LEVELS)}")
    check_token_files(parser, options)
    return options


if __name__ == "__main__":
    try:
        main()
    except HarnessError as error:
        sys.exit(str(error))
