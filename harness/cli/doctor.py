"""`harness doctor`: what this machine has, what is missing, what to do."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import click

from harness.cli._options import json_option
from harness.names import install


@dataclass(frozen=True)
class Finding:
    """One line: `good` is None for what is optional and absent."""

    what: str
    good: bool | None
    found: str


@click.command()
@json_option
def command(json_file: str | None) -> None:
    """Say what is there, what is missing, and what to do about it."""
    from harness.cli._output import write_json

    findings = [check() for check in _CHECKS]
    write_json(json_file, [{"what": f.what, "good": f.good, "found": f.found} for f in findings])
    if json_file != "-":
        for finding in findings:
            mark = {True: "ok", False: "NO", None: "--"}[finding.good]
            click.echo(f"{mark}  {finding.what:<10} {finding.found}")
    if any(finding.good is False for finding in findings):
        sys.exit(3)


def _python() -> Finding:
    enough = sys.version_info >= (3, 11)
    return Finding("python", enough, platform.python_version() + ("" if enough else "; 3.11 or newer is needed"))


def _torch() -> Finding:
    import torch

    threads, capability = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    devices = f"{torch.cuda.device_count()} GPUs" if torch.cuda.is_available() else "no GPU"
    return Finding("torch", True, f"{torch.__version__}, {threads} threads, {capability}, {devices}")


def _engine() -> Finding:
    from harness.errors import Fault
    from harness.sandboxes.docker import check
    from harness.sandboxes.engine import answers

    if not answers():
        return Finding("docker", None, "no Docker engine answers: start it, or set DOCKER_HOST to its address")
    try:
        return Finding("docker", True, check())
    except Fault as fault:  # there is one, and it does not do what it should
        return Finding("docker", False, str(fault))


def _image() -> Finding:
    from harness.errors import Fault
    from harness.sandboxes.image import image_id, image_tag

    try:
        return Finding("image", True, f"{image_tag()} ({image_id()[:19]})")
    except Fault as fault:
        return Finding("image", None, str(fault))


def _fallback() -> Finding:
    from harness.errors import Fault
    from harness.sandboxes.bubblewrap import BubblewrapSandbox, check

    try:
        return Finding("bubblewrap", True, f"{check()}; {BubblewrapSandbox.lacks}")
    except Fault as fault:
        return Finding("bubblewrap", None, str(fault))


def _level() -> Finding:
    from harness.errors import Fault
    from harness.sandboxes import open_sandbox

    try:
        return Finding("sandbox", True, f"--sandbox auto uses {open_sandbox('auto').isolation}")
    except Fault as fault:
        return Finding("sandbox", False, str(fault))


def _key() -> Finding:
    if os.environ.get("OPENAI_API_KEY"):
        return Finding("key", True, "OPENAI_API_KEY is set")
    return Finding("key", None, "OPENAI_API_KEY is not set: needed by `harness generate` but for local: models")


def _local() -> Finding:
    try:
        return Finding("local", True, f"xllamacpp {version('xllamacpp')}: --model local:smollm2-135m works")
    except PackageNotFoundError:
        return Finding("local", None, f"xllamacpp is not installed: for local: models {install('local')}")


def _disk() -> Finding:
    from harness.resources import cache_folder

    free = shutil.disk_usage(cache_folder()).free / 2**30
    advice = "" if free > 2 else "; 2 GiB are needed: make room or set HARNESS_CACHE"
    return Finding("disk", free > 2, f"{free:.0f} GiB free for {cache_folder()}{advice}")


_CHECKS: list[Callable[[], Finding]] = [
    _python,
    _torch,
    _engine,
    _image,
    _fallback,
    _level,
    _key,
    _local,
    _disk,
]
