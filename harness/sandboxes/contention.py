"""Whether other work kept a program from the processors, as the kernel's scheduler counted it."""

from __future__ import annotations

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


def contended(cpu_seconds: float | None, waited: float | None, wall_seconds: float, processors: float) -> bool:
    """Whether a program that wanted to run most of the time got less than half of what it wanted.

    A program cannot bring this about alone: however many threads it starts, they get what `processors` give, unless
    others take it, and it may not bind them to one (sandbox/seccomp.json). One that sleeps wants nothing.

    Args:
        cpu_seconds: what it got; None, as `waited`, where it is not known.
        waited: by all its threads together.
        wall_seconds: of the whole run.
        processors: how many it may use at once.
    """
    if cpu_seconds is None or waited is None:
        return False
    wanted = min(cpu_seconds + waited, processors * wall_seconds)
    return wanted > wall_seconds / 2 and cpu_seconds < wanted / 2
