"""Provenance: with what a number was measured, as a record that stands beside it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from harness import __version__
from harness.devices import arithmetic
from harness.resources import sandbox_package
from harness.sandboxes import image
from harness.sandboxes.interior import library_versions

Environment = Mapping[str, Any]
"""Plain values under plain names, as docs/records.md lists them; None where something cannot be told."""


def environment(isolation: str, device: str) -> Environment:
    """The program, its libraries and the machine, as they are now.

    Args:
        isolation: of the sandbox in use; of Docker, the image's id is part of the record.
        device: that computes, `cpu` or `cuda`.

    Raises:
        SandboxFault, ImageFault: the image's id cannot be asked for.
    """
    commit, dirty = _commit(Path(__file__).parent)
    _, capability, threads = arithmetic(torch.device(device))
    return {
        "harness": __version__,
        "commit": commit,
        "dirty": dirty,
        "sandbox_files_sha256": _sandbox_files(),
        "isolation": isolation,
        "image": image.image_id() if isolation.startswith("docker") else None,
        "python": platform.python_version(),
        "libraries": library_versions(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "capability": capability,
        "threads": threads,
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "device": device,
    }


def identity(record: Environment) -> str:
    """SHA-256 of a record: two runs with one identity had everything in it in common."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


@cache
def _commit(folder: Path) -> tuple[str | None, bool | None]:
    """The commit that the program is of and whether tracked files differ from it; None where it is installed."""
    git = shutil.which("git")
    if git is None or not (folder.parent / ".git").exists():
        return None, None
    try:
        said = [
            subprocess.run([git, *words], cwd=folder, capture_output=True, text=True, timeout=30, check=True).stdout
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.SubprocessError):  # a repository of another kind
        return None, None
    return said[0].strip(), bool(said[1].strip())


@cache
def _sandbox_files() -> str:
    """SHA-256 of the files that go into the sandbox, which are part of how a pruner is run."""
    files = sorted(sandbox_package().glob("*.py"))
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()


@cache
def _processor() -> str | None:
    """The name that Linux gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or None
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, None) or platform.processor() or None
