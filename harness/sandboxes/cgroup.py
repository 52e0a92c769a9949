"""What a running container's control groups have counted, read on the host; versions 1 and 2."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_ROOTS_V2 = (_ROOT, _ROOT / "unified")


@dataclass(slots=True)
class Usage:
    """The highest counts seen so far; None where nothing could be read."""

    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    oom_kills: int | None = None

    def update(self, pid: int, container_id: str) -> bool:
        """Read once more, and say whether there was anything: not when it has ended or cannot be seen from here."""
        groups = _groups(pid, container_id)
        for controllers, folder in groups:
            if "memory" in controllers:
                self._memory(
                    _number(folder / "memory.max_usage_in_bytes"), _field(folder / "memory.oom_control", "oom_kill")
                )
            if "cpuacct" in controllers and (nanoseconds := _number(folder / "cpuacct.usage")) is not None:
                self.cpu_seconds = nanoseconds / 1e9
            if controllers == [""]:
                self._memory(_number(folder / "memory.peak"), _field(folder / "memory.events", "oom_kill"))
                if (microseconds := _field(folder / "cpu.stat", "usage_usec")) is not None:
                    self.cpu_seconds = microseconds / 1e6
        return bool(groups)

    def _memory(self, peak: int | None, kills: int | None) -> None:
        if peak is not None:
            self.peak_memory_bytes = peak
        if kills is not None:
            self.oom_kills = kills


def processes(pid: int, container_id: str) -> list[int]:
    """Ids, on the host, of all processes of the container; empty when it has ended or cannot be seen from here."""
    for _, folder in _groups(pid, container_id):
        try:
            return [int(line) for line in (folder / "cgroup.procs").read_text().split()]
        except OSError:
            continue
    return []


def _groups(pid: int, container_id: str) -> list[tuple[list[str], Path]]:
    """Controllers and folder of each group of the process; only folders that bear the container's id."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return []
    groups = []
    for line in lines:
        _, names, path = line.split(":", 2)
        if container_id not in path:
            continue
        roots = (_ROOT / names.removeprefix("name="),) if names else _ROOTS_V2
        groups += [(names.split(","), root / path.lstrip("/")) for root in roots if (root / path.lstrip("/")).is_dir()]
    return groups


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _field(file: Path, name: str) -> int | None:
    try:
        fields = dict(line.split(maxsplit=1) for line in file.read_text().splitlines())
        return int(fields[name])
    except (OSError, ValueError, KeyError):
        return None
