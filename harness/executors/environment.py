"""Where a number was computed: what its last digits may depend on besides its inputs."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Environment:
    """Of one worker."""

    id: str
    """Of the record: two workers with the same one compute the same bits."""
    record: Mapping[str, str]
    host: str
    """Its machine's name, which is no part of the record."""

    def difference(self, other: Environment) -> str:
        """In what the other one differs, in words."""
        keys = [key for key in self.record if self.record[key] != other.record.get(key)]
        return "; ".join(f"{key} {self.record[key]} and {other.record.get(key)}" for key in keys)


def environment(device: str, threads: int | None) -> Environment:
    """That of this process, which computes on `device` with so many threads; None is as many as there are."""
    record = {
        "python": platform.python_version(),
        "torch": _version("torch"),
        "transformers": _version("transformers"),
        "processor": _processor(),
        "threads": str(threads or os.environ.get("OMP_NUM_THREADS") or processors()),
    }
    if device == "cuda":
        record["gpu"] = _gpus()
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    return Environment(digest[:12], record, platform.node())


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _gpus() -> str:
    """The models of the machine's GPUs, as the driver lists them."""
    found = set()
    for file in Path("/proc/driver/nvidia/gpus").glob("*/information"):
        for line in file.read_text().splitlines():
            if line.startswith("Model:"):
                found.add(line.partition(":")[2].strip())
    return ", ".join(sorted(found)) or "unknown"
