"""No sandbox at all: the worker in a child process. For the project's own pruners in tests and benchmarks only."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.records import Execution, Limits, Mount
from harness.resources import sandbox_package

_PROGRAM = "import os, sys, pathlib; from sandbox.worker import run; os._exit(run(*map(pathlib.Path, sys.argv[1:])))"


class TrustedSandbox:
    """Never give it code that a model wrote: nothing is isolated, and only the time is limited."""

    isolation = "none"
    waits = False

    def execute(self, mounts: list[Mount], limits: Limits, file_bytes: int) -> Execution:  # noqa: ARG002
        """As `harness.records.Sandbox` says, without a sandbox."""
        with tempfile.TemporaryDirectory() as folder:
            for mount in mounts:
                link = Path(folder, mount.target.lstrip("/"))
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(mount.source.resolve())
            started = time.monotonic()
            code = self.exit_code(Path(folder), limits.timeout_seconds)
        return Execution(
            exit_code=code if code is not None and code >= 0 else None,
            signal=-code if code is not None and code < 0 else None,
            timed_out=code is None,
            out_of_memory=False,
            wall_seconds=time.monotonic() - started,
        )

    def exit_code(self, folder: Path, seconds: float) -> int | None:
        """Of a worker that has its job in `folder`, negative for a signal; None where it took longer than `seconds`."""
        command = [sys.executable, "-c", _PROGRAM, f"{folder}/job/job.json", f"{folder}/out"]
        try:
            return subprocess.run(
                command, cwd=sandbox_package().parent, timeout=seconds, check=False, stdin=subprocess.DEVNULL
            ).returncode
        except subprocess.TimeoutExpired:
            return None

    def warm(self, mounts: list[Mount], limits: Limits, file_bytes: int) -> None:
        """As `harness.records.Sandbox` says; nothing waits at this level."""

    def cool(self) -> None:
        """As `harness.records.Sandbox` says."""
