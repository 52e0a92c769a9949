"""What sandboxes of this process have left on the machine, told apart from what other work on it has."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.resources import cache_folder
from harness.sandboxes import engine

MARK = "corpus-left-behind"
"""In the name of everything that candidates of the corpus leave on purpose."""

_SANDBOX_USERS = range(20_000, 60_000)
_SHARED_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/")
_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Leftovers:
    """Compares the machine with what it was when this object was made.

    Others may run sandboxes meanwhile. Theirs end and are told apart by what made them; what lasts and is not shown to
    be another's is a leftover of ours.
    """

    temporary: Path
    """The folder that this process uses in the place of /tmp, empty at first."""
    _mounts: frozenset[str] = field(default_factory=lambda: frozenset(_mounts()))
    _groups: frozenset[str] = field(default_factory=lambda: frozenset(_control_groups()))
    _processes: frozenset[str] = field(default_factory=lambda: frozenset(_sandbox_processes()))

    def lasting(self) -> list[str]:
        """What is there now, was not at first, and does not go away; one line for each thing."""
        finders: list[Callable[[], set[str]]] = [
            lambda: {f"container {name}" for name, is_ours in _containers().values() if is_ours},
            lambda: {f"process {line}" for line in _sandbox_processes() - self._processes},
            lambda: {f"mount {path}" for path in _mounts() - self._mounts},
            lambda: {f"control group {path}" for path in _control_groups() - self._groups},
            lambda: {f"run {path}" for path in (cache_folder() / "runs").glob("*")},
            lambda: {f"file {path}" for path in self.temporary.iterdir()},
            lambda: {f"file {path}" for path in _files_of_sandboxes()},
        ]
        return sorted(line for find in finders for line in _lasting(find))


def _lasting(find: Callable[[], set[str]]) -> set[str]:
    """What is found again and again until patience is over."""
    found, until = find(), time.monotonic() + _PATIENCE_SECONDS
    while found and time.monotonic() < until:
        time.sleep(0.5)
        found &= find()
    return found


def _containers() -> dict[str, tuple[str, bool]]:
    """Id -> name, and whether this process owns it, of all containers; none where there is no engine."""
    if not engine.answers():
        return {}
    with engine.connect() as client:
        found = client.containers.list(all=True, ignore_removed=True)
        own = f"/{os.getpid()}:"
        return {str(c.id): (str(c.name), own in c.labels.get("harness.owner", "")) for c in found}


def _sandbox_processes() -> set[str]:
    """Processes of the users of sandboxes, as `pid user command`, but those of other processes of the harness."""
    parents: dict[int, int] = {}
    lines: dict[int, str] = {}
    foreign = [identity for identity, (_, is_ours) in _containers().items() if not is_ours]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            uid = folder.stat().st_uid
            parent, user = _parent_and_user((folder / "status").read_text())
            parents[int(folder.name)] = parent
            if user not in _SANDBOX_USERS and uid not in _SANDBOX_USERS:
                continue
            if not any(identity in (folder / "cgroup").read_text() for identity in foreign):
                command = (folder / "cmdline").read_bytes()[-200:].replace(b"\0", b" ").decode(errors="replace")
                lines[int(folder.name)] = f"{folder.name} {user} {command}"
        except OSError:  # it has ended meanwhile
            continue
    return {line for pid, line in lines.items() if _is_ours(pid, parents, set(lines))}


def _parent_and_user(status: str) -> tuple[int, int]:
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return int(fields["PPid"]), int(fields["Uid"].split()[0])


def _is_ours(pid: int, parents: dict[int, int], sandboxed: set[int]) -> bool:
    """Whether the first ancestor outside of sandboxes is this process, or the machine's first one: an orphan."""
    while pid in sandboxed:
        pid = parents.get(pid, 1)
    return pid in (0, 1, os.getpid())


def _mounts() -> set[str]:
    """Mount points in this process's namespace, but those of the engine's own folder, where others' containers are."""
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return {point for point in points if "/docker/" not in point}


def _control_groups() -> set[str]:
    """Folders of control groups, but those of containers that are there: `_containers` tells whose they are."""
    containers = _containers()
    folders = (folder for folder, _, _ in os.walk("/sys/fs/cgroup"))
    return {folder for folder in folders if not any(identity in folder for identity in containers)}


def _files_of_sandboxes() -> Iterator[Path]:
    """Files in shared folders that a sandbox's user owns, or that candidates of the corpus have named."""
    for folder in _SHARED_FOLDERS:
        for entry in os.scandir(folder):
            try:
                owner = entry.stat(follow_symlinks=False).st_uid
            except FileNotFoundError:
                continue
            if owner in _SANDBOX_USERS or MARK in entry.name:
                yield Path(entry.path)
