"""What isolation costs: a pruner through Docker and in a bare process, cold and with a container waiting.

    python -m benchmarks.sandbox [times] [counts] [growth]

`times`: whole runs of a pruner, job written to output read; the bare process has the sandbox's packages and
environment. *cold* starts Python and loads torch in the run, *warm* has both done before the clock starts, in a waiting
container or in a bare process that waits just so. *first* is what the harness does: the first run of a target that was
just opened, whose container was started meanwhile; those after it are warm. Every round runs all five in turn; the
table has medians, and ratios to the bare process, cold, and the differences of those that are warm. `counts`: peak
memory and CPU seconds as the control group counts them, beside those of a program that takes a known amount of both.
`growth`: the harness's own memory, files and threads while it scores many candidates in a row.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.tables import heading, number, ratio, row
from harness import console
from harness.bench import Bench
from harness.errors import HarnessError
from harness.pipeline import open_bench
from harness.pruners import find
from harness.records import Execution, Limits, Mount, Pruner, Sparsity
from harness.resources import cache_folder, sandbox_package
from harness.sandboxes import interior, visible
from harness.sandboxes.docker import DockerSandbox
from harness.stages.sandbox_run import Job, SandboxRuns

PARTS = ("times", "counts", "growth")
HALF = Sparsity(0.5)
COLUMNS = (
    *("pruner", "bare, cold s", "Docker, first s", "ratio", "Docker, cold s", "ratio"),
    *("bare, warm s", "Docker, warm s", "more ms"),
)
READY_SECONDS = 6.0
"""What a waiting program is given to load its libraries, before the clock starts."""
_MIB = 1 << 20
_BARE = (
    "import os, sys, pathlib; from sandbox import worker; from sandbox.waiting import wait;"
    "job, out = map(pathlib.Path, sys.argv[1:]); wait(job.with_name('go')); os._exit(worker.run(job, out))"
)
_LOAD = """
import time
block = bytearray({size})
for place in range(0, len(block), 4096):
    block[place] = 1
until = {seconds}
while time.process_time() < until:
    pass
"""


class BareProcess:
    """The worker's program in a child process with the sandbox's environment and packages, and nothing of isolation."""

    isolation = "none"
    waits = True

    def __init__(self, packages: Path) -> None:
        self._packages = packages
        self._process: subprocess.Popen[bytes] | None = None

    def warm(self, mounts: list[Mount], limits: Limits, file_bytes: int) -> None:  # noqa: ARG002
        """As `harness.records.Sandbox` says."""
        folder = Path(tempfile.mkdtemp(dir=self._packages.parent))
        for mount in mounts:
            link = folder / mount.target.lstrip("/")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(mount.source.resolve())
        python_path = f"{self._packages}:{sandbox_package().parent}"
        command = [visible.view().python, "-P", "-c", _BARE, str(folder / "job/job.json"), str(folder / "out")]
        self._process = subprocess.Popen(command, env=interior.environment(limits, python_path), cwd=folder)

    def execute(self, mounts: list[Mount], limits: Limits, file_bytes: int) -> Execution:
        """As `harness.records.Sandbox` says."""
        if self._process is None:
            self.warm(mounts, limits, file_bytes)
        assert self._process is not None
        code, self._process = self._process.wait(), None
        return Execution(exit_code=code, signal=None, timed_out=False, out_of_memory=False, wall_seconds=1e9)

    def cool(self) -> None:
        """As `harness.records.Sandbox` says; every process is waited for."""


@contextmanager
def shown_packages() -> Iterator[Path]:
    """A folder of links to just the packages that a sandbox has: what else is installed here slows their import."""
    with tempfile.TemporaryDirectory() as folder:
        packages = Path(folder, "packages")
        packages.mkdir()
        for target, source in visible.view().shown.items():
            if target.startswith(f"{visible.PACKAGES}/"):
                (packages / target.rpartition("/")[2]).symlink_to(source)
        yield packages


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the tables."""
    options = parsed(arguments)
    chosen = options.parts or list(PARTS)
    if "times" in chosen:
        for target in options.targets:
            print_times(target, options)
    if "counts" in chosen:
        print_counts(options)
    if "growth" in chosen:
        print_growth(options)


def print_times(target: str, options: argparse.Namespace) -> None:
    """Whole runs of each pruner, medians."""

    def opened() -> Bench:
        return open_bench(target, calibration_samples=options.calibration_samples, sandbox="docker")

    bench = opened()
    bench._runs.close()
    print(f"\n{target}, sparsity {HALF.label}, medians of {options.runs} runs\n")
    print(heading(COLUMNS))
    for name in options.pruners:
        source = find(name).source or b""
        job = bench._job(source, [HALF])
        found: dict[tuple[str, str], list[float]] = {}
        with shown_packages() as packages:
            for count in range(options.runs):
                console.notice(f"{target} {name}: round {count + 1} of {options.runs}")
                for state in ("cold", "warm"):
                    for place, sandbox in (("bare", BareProcess(packages)), ("docker", DockerSandbox())):
                        runs = SandboxRuns(sandbox, bench.limits)
                        found.setdefault((place, state), []).append(whole_run(runs, job, warm=state == "warm"))
                fresh = opened()
                fresh.dense_losses  # noqa: B018 - as a score asks for first
                found.setdefault(("docker", "first"), []).append(
                    whole_run(fresh._runs, fresh._job(source, [HALF]), warm=False)
                )
        bare_cold, docker_cold, bare_warm, docker_warm = (
            median(found[place, state]) for state in ("cold", "warm") for place in ("bare", "docker")
        )
        first = median(found["docker", "first"])
        print(
            row(
                name,
                number(bare_cold, 2),
                number(first, 2),
                ratio(first, bare_cold),
                number(docker_cold, 2),
                ratio(docker_cold, bare_cold),
                number(bare_warm, 3),
                number(docker_warm, 3),
                number(1000 * (docker_warm - bare_warm), 0),
            )
        )


def whole_run(runs: SandboxRuns, job: Job, *, warm: bool) -> float:
    """Seconds from the job to its output."""
    if warm:
        runs.prepare(job.target, job.known)
        time.sleep(READY_SECONDS)
    started = time.perf_counter()
    with runs.run(job) as run:
        seconds = time.perf_counter() - started
        if run.status is not None:
            sys.exit(f"the run came back as {run.status}: {run.failure}")
    runs.close()
    return seconds


def print_counts(options: argparse.Namespace) -> None:
    """Peak memory and CPU seconds of known loads."""
    print("\nDocker, as the control group counts\n")
    print(heading(("load MiB", "counted MiB", "ratio", "load CPU s", "counted CPU s", "ratio")))
    for size, seconds in ((256 * _MIB, 2.0), (1024 * _MIB, 5.0), (2048 * _MIB, 10.0)):
        runs = []
        for _ in range(options.runs):
            sandbox = DockerSandbox(command=("-I", "-S", "-c", _LOAD.format(size=size, seconds=seconds)))
            runs.append(sandbox.execute([], Limits(timeout_seconds=120, memory_bytes=3 << 30, threads=1), _MIB))
        memory = median(run.peak_memory_bytes or 0 for run in runs)
        cpu = median(run.cpu_seconds or 0 for run in runs)
        cells = (number(memory / _MIB, 1), ratio(memory, size), number(seconds, 1), number(cpu, 2), ratio(cpu, seconds))
        print(row(number(size / _MIB, 0), *cells))


def print_growth(options: argparse.Namespace) -> None:
    """What the harness itself holds while it scores one candidate after another."""
    bench = open_bench("testbed-llama", calibration_samples=1, eval_windows=1, sandbox="docker")
    source = find("magnitude").source or b""
    print(f"\n{options.candidates} candidates in a row, testbed-llama\n")
    print(heading(("candidates", "resident MiB", "descriptors", "threads", "files in the cache", "files in /tmp")))
    for count in range(options.candidates + 1):
        if count in (1, 10, *range(50, options.candidates, 50), options.candidates):
            print(row(str(count), *held()), flush=True)
        if count < options.candidates:
            score(bench, count, source, more=count + 1 < options.candidates)


def score(bench: Bench, count: int, source: bytes, *, more: bool) -> None:
    """Every third candidate fails, each is another program."""
    text = source + f"\n# candidate {count}\n".encode()
    if count % 3 == 2:
        text += b"def prune(task):\n    raise ValueError('x' * 10_000)\n"
    found = bench.score(Pruner(f"candidate-{count}", "model", text), HALF, more=more)
    if found.status != ("RUNTIME_ERROR" if count % 3 == 2 else "OK"):
        sys.exit(f"candidate {count} came back as {found.status}: {found.error}")


def held() -> tuple[str, ...]:
    """What this process holds now."""
    gc.collect()
    status = Path("/proc/self/status").read_text().splitlines()
    resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    temporary = sum(1 for _ in Path(tempfile.gettempdir()).iterdir())
    cached = sum(1 for _ in cache_folder().rglob("*"))
    counts = (len(os.listdir("/proc/self/fd")), threading.active_count(), cached, temporary)  # noqa: PTH208
    return (number(resident / 1024, 0), *map(str, counts))


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} [all]")
    parser.add_argument("--targets", nargs="+", default=["testbed-llama", "smollm2-135m"])
    parser.add_argument("--pruners", nargs="+", default=["magnitude", "wanda"])
    parser.add_argument("--calibration-samples", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--candidates", type=int, default=200)
    options = parser.parse_args(arguments)
    if wrong := [part for part in options.parts if part not in PARTS]:
        parser.error(f"no part {wrong[0]}: there are {', '.join(PARTS)}")
    return options


if __name__ == "__main__":
    try:
        main()
    except HarnessError as error:
        sys.exit(str(error))
