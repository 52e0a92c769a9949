"""Programs in sandboxes, for the tests of what both levels of isolation promise."""

from __future__ import annotations

import os
import textwrap
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.records import Execution, Limits, Mount, Sandbox
from harness.sandboxes import engine
from harness.sandboxes.bubblewrap import BubblewrapSandbox
from harness.sandboxes.docker import DockerSandbox

LEVELS = [
    pytest.param(DockerSandbox, id="docker", marks=pytest.mark.docker),
    pytest.param(BubblewrapSandbox, id="bubblewrap"),
]
SMALL = Limits(timeout_seconds=30.0, memory_bytes=256 << 20, processes=16, threads=1)
FILE_BYTES = 8 << 20
OUTPUT_BYTES = 1000

Level = Callable[..., Sandbox]


@dataclass
class Run:
    execution: Execution
    log: str
    folder: Path


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    """Runs a program with a job file, a log and an output of fixed size, as the harness mounts them."""

    def execute(level: Level, program: str, limits: Limits = SMALL, logged: bool = True, names: str = "") -> Run:
        folder = tmp_path / uuid.uuid4().hex
        folder.mkdir()
        (folder / "job.json").write_text('{"job": 1}')
        (folder / "weights").write_bytes(bytes(OUTPUT_BYTES))
        (folder / "log").touch()
        for name in ("weights", "log"):
            (folder / name).chmod(0o666)
        redirect = "import os\nlog = os.open('/out/log', os.O_WRONLY)\nos.dup2(log, 1)\nos.dup2(log, 2)\n"
        code = (redirect if logged else "") + textwrap.dedent(program)
        sandbox = level(command=("-P", "-c", code, names))
        mounts = [
            Mount(folder / "job.json", "/job/job.json"),
            Mount(folder / "weights", "/out/weights", writable=True),
            Mount(folder / "log", "/out/log", writable=True),
        ]
        execution = sandbox.execute(mounts, limits, FILE_BYTES)
        return Run(execution, (folder / "log").read_text(errors="replace"), folder)

    return execute


def processes_with(token: str) -> list[int]:
    """Processes of this machine, in any namespace, whose command line holds `token`."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if token.encode() in file.read_bytes() and int(file.parent.name) != os.getpid():
                found.append(int(file.parent.name))
        except OSError:
            continue
    return found


def containers(pid: int | None = None) -> list[str]:
    """Names of the containers of a harness process, this one by default; others may use the engine meanwhile."""
    owner = f"/{pid or os.getpid()}:"
    with engine.connect() as client:
        found = client.containers.list(all=True, filters={"label": "harness.owner"}, ignore_removed=True)
        return [str(c.name) for c in found if owner in c.labels["harness.owner"]]


def wait_for(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    until = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < until:
        time.sleep(0.05)
    return value
