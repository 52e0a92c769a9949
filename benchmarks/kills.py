"""A study whose Docker engine is killed at random moments, beside the same study undisturbed.

    python -m benchmarks.kills

Starts an engine of its own, as root, with nothing in it but the sandbox image of the engine that DOCKER_HOST names, and
runs a study of a tiny random model twice: once in peace, and once while the engine is killed with SIGKILL and started
again after a second or so, in half of the cases with its containerd. A study that ends with faults of the harness is
resumed with the same command, as a person would, until it is complete. The other engine is only read from. Needs root,
dockerd, and 100 MB of disk where that engine's files are at hand, else 3 GB. The columns are:

- `s`: since the killed study was started.
- `with containerd`: whether that was killed in the same moment.
- `containers`: of the harness, when the engine was killed; only such kills count.
- `scores`: of the study that were on file then.
- `engine back s`: from the kill until it answered.

Below stand what differs from the undisturbed study (all of every score and of every mask but its times and memory), and
what was lost, doubled or left; the exit status is 1 unless all of those are 0.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import docker

from benchmarks.killed_study import FILES, Kill, Trial
from benchmarks.own_engine import OwnEngine, lacks
from benchmarks.tables import heading, number, row
from harness.sandboxes.image import image_tag

COLUMNS = ("kill", "s", "with containerd", "containers", "scores", "engine back s")
PRUNERS = ("magnitude", "negative_magnitude", "random", "wanda", "bias", *FILES)
SPARSITIES = ("0.3", "0.5", "0.7", "2:4")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both, and print the kills as they happen, then what they came to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=10, help="of the engine, while a container is there [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="of the moments [%(default)s]")
    parser.add_argument("--pruners", default=",".join(PRUNERS), help="[%(default)s]")
    parser.add_argument("--sparsities", default=",".join(SPARSITIES), help="[%(default)s]")
    options = parser.parse_args(arguments)
    if missing := lacks():
        parser.error(missing)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)  # the sandbox's user reads the model in it
        (folder / "engine").mkdir()
        source = docker.from_env()
        with OwnEngine(folder / "engine", image_tag(), source) as engine:
            trial = Trial(folder, engine, options.pruners.split(","), options.sparsities.split(","))
            span = trial.undisturbed()
            print(f"undisturbed, containers ran for {span:.0f} s; kills with seed {options.seed}\n", flush=True)
            print(heading(COLUMNS), flush=True)
            found = trial.disturbed(options.kills, options.seed, span, printer())
    kills = f"{len(found.kills)} kills with a container there and {found.idle_kills} without"
    print(f"\n{found.cells} cells, {kills}, {found.resumptions} resumptions\n\n{heading(('harm', 'count'))}")
    for name, count in found.harm().items():
        print(row(name, str(count)))
    print("".join(f"\n{line}" for line in found.different))
    sys.exit(1 if any(found.harm().values()) else 0)


def printer() -> Callable[[Kill], None]:
    """Prints each kill as a row."""
    count = iter(range(1, 1 << 30))

    def show(kill: Kill) -> None:
        counts = str(kill.containers), str(kill.scores)
        cells = number(kill.seconds, 1), "yes" if kill.containerd else "no", *counts, number(kill.back_seconds, 1)
        print(row(str(next(count)), *cells), flush=True)

    return show


if __name__ == "__main__":
    main()
