"""Whether other work kept a program from the processors, as the kernel's scheduler counted it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def waited_seconds(pids: Iterable[int]) -> float | None:
    """How long the threads of these processes were ready to run and did not; None where it cannot be read.

    Threads that have ended are not in it.
    """
    total, found = 0, False
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(task.read_text().split()[1])
            except (OSError, ValueError, IndexError):
                continue
            found = True
    return total / 1e9 if found else None


def busy_seconds() -> float | None:
    """How long the processors of this machine have worked for anybody, hypervisor included, since it was started."""
    try:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(
            int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
        )
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def contended(
    cpu_seconds: float | None, waited: float | None, busy: float | None, wall_seconds: float, processors: float
) -> bool:
    """Whether a program that wanted to run most of the time got less than half of what it wanted.

    A program cannot bring this about alone: others must have had at least half of what it lacked. One that sleeps wants
    nothing.

    Args:
        cpu_seconds: what it got; None, as the next two, where it is not known.
        waited: by all its threads together.
        busy: by which `busy_seconds` has grown since it was started.
        wall_seconds: of the whole run.
        processors: how many it may use at once.
    """
    if cpu_seconds is None or waited is None or busy is None:
        return False
    wanted = min(cpu_seconds + waited, processors * wall_seconds)
    lacked, others = wanted - cpu_seconds, busy - cpu_seconds
    return wanted > wall_seconds / 2 and lacked > wanted / 2 and others > lacked / 2
