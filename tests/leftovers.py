"""What sandboxes of this process have left on the machine, told apart from what other work on it has.

Others may run sandboxes meanwhile, and leave things. Theirs are told apart by what made them; what lasts and is not
shown to be another's is a leftover of ours.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from docker import DockerClient

from harness.resources import cache_folder
from harness.sandboxes import engine

MARK = "corpus-left-behind"
"""In the name of everything that candidates of the corpus leave on purpose."""

_SANDBOX_USERS = range(20_000, 60_000)
_SHARED_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/")
_PATIENCE_SECONDS = 30.0


class Leftovers:
    """Compares the machine with what it was when the `with` block was entered.

    Args:
        temporary: the folder that this process uses in the place of /tmp, empty at first.
    """

    def __init__(self, temporary: Path) -> None:
        self._temporary = temporary
        self._own: set[str] = set()

    def __enter__(self) -> Self:
        self._mounts = _mounts()
        self._groups = _control_groups()
        self._processes = _sandbox_processes()
        self._watch = _Creations(self._own) if engine.answers() else None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._watch is not None:
            self._watch.end()

    def lasting(self) -> list[str]:
        """What is there now, was not at first, and does not go away; one line for each thing."""
        finders: list[Callable[[], set[str]]] = [
            lambda: {f"container {name}" for name, is_ours in _containers().values() if is_ours},
            lambda: {f"process {line}" for line in _sandbox_processes() - self._processes},
            lambda: {f"mount {path}" for path in _mounts() - self._mounts},
            lambda: {f"control group {path}" for path in _control_groups() - self._groups if self._is_own(path)},
            lambda: {f"run {path}" for path in (cache_folder() / "runs").glob("*")},
            lambda: {f"file {path}" for path in self._temporary.iterdir()},
            lambda: {f"file {path}" for path in _files_of_sandboxes()},
        ]
        return sorted(line for find in finders for line in _lasting(find))

    def _is_own(self, group: str) -> bool:
        """Containers of others leave groups, too: engines fail at it now and then."""
        return "/docker/" not in group or any(identity in group for identity in self._own)


class _Creations:
    """Gathers the ids of this process's containers, in a thread that listens to the engine."""

    def __init__(self, found: set[str]) -> None:
        self._found = found
        self._client = DockerClient.from_env()
        self._events = self._client.events(decode=True, filters={"type": "container", "event": "create"})
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        for event in self._events:
            if _is_own_label(event["Actor"]["Attributes"]):
                self._found.add(event["id"])

    def end(self) -> None:
        self._events.close()
        self._thread.join(10)
        self._client.close()


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
        return {str(c.id): (str(c.name), _is_own_label(c.labels)) for c in found}


def _is_own_label(labels: dict[str, str]) -> bool:
    return f"/{os.getpid()}:" in labels.get("harness.owner", "")


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
    """Folders of control groups."""
    return {folder for folder, _, _ in os.walk("/sys/fs/cgroup")}


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
