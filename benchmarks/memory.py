"""Memory and time of a model of LLaMA-7B's shape, 13.5 GB in float16, pruned in the sandbox under a memory limit.

    python -m benchmarks.memory FOLDER

Makes a checkpoint of random weights in FOLDER unless it is there (`--blocks`, `--hidden`, ... make it smaller), and a
file of a few random tokens for calibration and evaluation. Then each method prunes it in the sandbox and is scored,
each in a fresh process. The columns are:

- `status`: anything but OK means that the limits did not suffice.
- `prune s`, `score s`: as in every score of the harness.
- `sandbox MiB`: peak memory of the sandbox, from the score's record. What Docker counts may hold cached pages of files
  that the kernel would give up under pressure; it never exceeds the limit.
- `scorer MiB`: peak resident memory of the process that opens the model, checks the output and scores it, mapped files
  included.
- `disk MiB`: the largest room that files of the run took in the harness's cache folder, which is in FOLDER meanwhile.

The official code holds the whole model in memory: 13.5 GB in float16 before it begins.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.ours import SANDBOXES, measure
from benchmarks.process import fresh
from benchmarks.random_model import make, make_tokens
from benchmarks.tables import heading, mebibytes, number, row
from harness import console
from harness.errors import HarnessError
from harness.resources import cache_folder

METHODS = "magnitude,wanda,sparsegpt"
COLUMNS = ("method", "status", "prune s", "score s", "sandbox MiB", "scorer MiB", "disk MiB")
SIZES = {"hidden": 4096, "intermediate": 11008, "blocks": 32, "heads": 32, "vocabulary": 32000}
_POLL_SECONDS = 0.5


def main(arguments: Sequence[str] | None = None) -> None:
    """Make what is missing, measure, and print the table row by row."""
    options = parsed(arguments)
    folder: Path = options.folder.resolve()
    try:
        written = make(folder, **{name: getattr(options, name) for name in SIZES}, seqlen=options.seqlen)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    os.environ["HARNESS_CACHE"] = str(folder / "cache")  # its own, so that what grows in it is of these runs
    tokens = folder / "tokens.npy"
    make_tokens(tokens, options.vocabulary, options.windows, options.seqlen)
    console.notice(f"{folder}: {written / 1e9:.2f} GB of weights; reading and scoring it dense once")
    given = {
        "sparsities": [options.sparsity],
        "sandbox": options.sandbox,
        "target": str(folder),
        "calibration": f"tokens:{tokens}",
        "evaluation": f"tokens:{tokens}",
        "timeout_seconds": options.timeout,
        "memory_bytes": int(options.memory * 2**30),
    }
    _ = fresh("benchmarks.ours:measure", given | {"names": []}, options.threads)  # the dense score, cached for all
    print(f"{written / 1e9:.2f} GB of weights, {options.windows} windows of {options.seqlen} tokens, sparsity", end=" ")
    print(f"{options.sparsity}, sandbox {options.sandbox} with {options.memory:g} GiB, {options.threads} threads\n")
    print(heading(COLUMNS), flush=True)
    for name in options.methods.split(","):
        found = fresh("benchmarks.memory:measured", given | {"names": [name]}, options.threads)
        (cell,) = found["cells"]
        seconds = number(cell["prune_seconds"], 1), number(cell["score_seconds"], 1)
        peaks = mebibytes(cell["worker_peak"]), mebibytes(found["peak_bytes"]), mebibytes(found["disk_bytes"])
        print(row(name, cell["status"], *seconds, *peaks), flush=True)


def measured(**arguments: Any) -> dict[str, Any]:
    """`benchmarks.ours.measure`, with the largest growth of the harness's cache folder meanwhile."""
    with disk_watched(cache_folder()) as most:
        found = measure(**arguments)
    return found | {"disk_bytes": most()}


@contextmanager
def disk_watched(folder: Path) -> Iterator[Callable[[], int]]:
    """Gives a function that says by how many bytes the files under `folder` grew at most; sparse files as they lie."""
    before, ended = _used(folder), threading.Event()
    most = [0]

    def watch() -> None:
        while not ended.wait(_POLL_SECONDS):
            most[0] = max(most[0], _used(folder) - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lambda: most[0]
    finally:
        ended.set()
        watcher.join()


def _used(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.lstat().st_blocks * 512
        except OSError:  # gone meanwhile
            continue
    return total


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the checkpoint is, or will be made")
    for name, default in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=default, help="[%(default)s]")
    parser.add_argument("--seqlen", type=int, default=512, help="tokens of a window [%(default)s]")
    parser.add_argument("--windows", type=int, default=2, help="of calibration and of evaluation [%(default)s]")
    parser.add_argument("--methods", default=METHODS, help="reference pruners, with commas [%(default)s]")
    parser.add_argument("--sparsity", default="0.5")
    parser.add_argument("--sandbox", choices=SANDBOXES, default="docker", help="[%(default)s]")
    parser.add_argument("--memory", type=float, default=6.0, metavar="GIB", help="of the sandbox [%(default)s]")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--timeout", type=float, default=6 * 3600.0, help="seconds of one prune [%(default)s]")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    try:
        main()
    except HarnessError as error:
        sys.exit(str(error))
