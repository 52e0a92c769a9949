"""One measurement in one fresh process, so that its peak memory is its own and nothing is warm that should not be."""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from harness.errors import HarnessError

ROOT = Path(__file__).resolve().parents[1]
PASSIVE = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
"""Set in every process of either side: a waiting OpenMP thread that spins takes time from whatever else runs."""
_POLL_SECONDS = 0.02


def fresh(call: str, arguments: Mapping[str, Any], threads: int) -> dict[str, Any]:
    """Call a function in a new process.

    Args:
        call: `module:function`; it takes keywords and returns a dictionary, both of what JSON can hold.
        arguments: its keywords.
        threads: of torch and OpenMP.

    Returns:
        What it returned, with `peak_bytes`, the peak resident memory of that process.

    Raises:
        SystemExit: it failed; the process has said why on the standard error.
    """
    numbers = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory() as folder:
        given, result = Path(folder, "arguments.json"), Path(folder, "result.json")
        given.write_text(json.dumps(dict(arguments)))
        command = [sys.executable, "-m", "benchmarks.process", call, str(threads), str(given), str(result)]
        environment = os.environ | PASSIVE | numbers | {"PYTHONPATH": path}
        done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
        if done.returncode or not result.is_file():
            sys.exit(f"{call} failed with exit code {done.returncode}: see above")
        found: dict[str, Any] = json.loads(result.read_text())
    return found


def peak_bytes(pid: int | str = "self") -> int:
    """Peak resident memory of a process since it was started; 0 where it is gone.

    On Linux from the kernel's own high-water mark: what `getrusage` says begins with the memory of the process that
    started this one.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        here = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return here * (1 if sys.platform == "darwin" else 1024) if pid == "self" else 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)


class Peak:
    """Peak memory in bytes of the children of this process, of the largest of them; 0 where none was seen."""

    bytes: int = 0

    def look(self) -> None:
        """Read every child's high-water mark, which only grows until the child is gone."""
        for children in Path("/proc/self/task").glob("*/children"):
            try:
                found = children.read_text().split()
            except OSError:  # the thread has ended meanwhile
                continue
            self.bytes = max([self.bytes, *map(peak_bytes, found)])


@contextmanager
def peak_of_children() -> Iterator[Peak]:
    """Watch the processes that are started meanwhile."""
    peak, ended = Peak(), threading.Event()

    def watch() -> None:
        while not ended.wait(_POLL_SECONDS):
            peak.look()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def main(call: str, threads: str, arguments: str, result: str) -> None:
    """What the new process does."""
    torch.set_num_threads(int(threads))
    module, _, function = call.partition(":")
    found = getattr(importlib.import_module(module), function)(**json.loads(Path(arguments).read_text()))
    Path(result).write_text(json.dumps(found | {"peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except HarnessError as error:
        sys.exit(str(error))
