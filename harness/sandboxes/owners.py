"""Which process of which machine a container belongs to: others may share the engine."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def owner() -> str:
    """Names this process: where its id counts (other machines and containers may share the engine), id and start."""
    return f"{_machine()}/{os.getpid()}:{_started(os.getpid())}"


def has_died(owner: str) -> bool:
    """Whether the process of a name that `owner` gave is one of this machine, and has ended."""
    where, _, process = owner.rpartition("/")
    pid, _, started = process.partition(":")
    return where == _machine() and _started(int(pid)) != started


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{platform.node()}/{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return platform.node()


def _started(pid: int) -> str:
    """When a process started, so that a later one with the same id is told apart; `gone` when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        pass
    try:
        os.kill(pid, 0)  # no /proc on this system
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        pass
    return "alive"
