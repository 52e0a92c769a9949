"""SandboxRun: one pruner on one job, and its status from what the host saw."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import StorageFault
from harness.records import Execution, Failure, Limits, Mount, Sandbox, Sparsity
from harness.resources import cache_folder
from harness.status import Status
from harness.targets import Target
from sandbox.layout import MAGIC, Layout
from sandbox.task import NOTE_CHARACTERS, NOTES

_REPORT_BYTES = 1 << 16
_REPORTED_KINDS = {
    kind.value: kind
    for kind in (
        Status.NA,
        Status.SYNTAX_ERROR,
        Status.IMPORT_ERROR,
        Status.INTERFACE_ERROR,
        Status.RUNTIME_ERROR,
        Status.RESOURCE_LIMIT,
        Status.EXITED,
        Status.BAD_OUTPUT,
    )
}
"""The kinds that the worker's words may name, for a run that has no result anyway."""
_RESOURCE_SIGNALS = {24: "CPU time", 25: "file size"}
_SIGNAL_NAMES = {4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}
_GIB = 1 << 30
_LEFTOVER_SECONDS = 86_400


@dataclass(frozen=True)
class Job:
    """What a pruner is given."""

    source: bytes
    target: Target
    calibration: np.ndarray
    sparsities: Sequence[Sparsity]
    """One for each round."""
    statistics: str
    seed: int
    dtype: str = "float32"
    """What the model computes in."""
    device: str = "cpu"
    """Where it does, and where the pruner's tensors are."""
    known: Mapping[str, Path] = field(default_factory=dict)
    """Files by name that lie beside the job: statistics that need not be computed again."""


@dataclass(frozen=True)
class SandboxRun:
    """How a run ended. `status` is None when there is an output to check, a file of `sandbox.layout`."""

    status: Status | None
    failure: Failure | None
    execution: Execution
    prune_seconds: float | None
    uniform: bool
    output: int
    notes: tuple[str, ...] = ()
    """Remarks of a run that has an output; as free to invent as all of the report."""


@contextmanager
def sandbox_run(job: Job, sandbox: Sandbox, limits: Limits) -> Iterator[SandboxRun]:
    """Run a pruner; its output can be read until the block ends.

    Raises:
        Fault: the sandbox failed, or the disk has no room. Says nothing about the pruner.
    """
    layout = Layout(job.target.layers)
    runs = cache_folder() / "runs"
    try:
        runs.mkdir(exist_ok=True)
        _remove_leftovers(runs)
        folder = Path(tempfile.mkdtemp(dir=runs))
        try:
            mounts = _inputs(job, limits, folder)
            descriptors = {name: _made(folder / name) for name in ("weights", "report.json")}
            try:
                os.posix_fallocate(descriptors["weights"], 0, layout.total_bytes)
                mounts += [Mount(folder / name, f"/out/{name}", writable=True) for name in descriptors]
                execution = sandbox.execute(mounts, limits, layout.total_bytes)
                yield _judged(execution, limits, layout, descriptors["weights"], descriptors["report.json"])
            finally:
                for descriptor in descriptors.values():
                    os.close(descriptor)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        need = layout.total_bytes / _GIB
        raise StorageFault(
            f"cannot write {need:.2f} GiB under {runs}: {error.strerror}; make room or set HARNESS_CACHE"
        ) from error


def _inputs(job: Job, limits: Limits, folder: Path) -> list[Mount]:
    task = {
        "version": 1,
        "sparsities": [asdict(sparsity) for sparsity in job.sparsities],
        "statistics": job.statistics,
        "dtype": job.dtype,
        "device": job.device,
        "seed": job.seed,
        "threads": limits.threads,
        "layers": [astuple(layer) for layer in job.target.layers],
    }
    (folder / "job.json").write_text(json.dumps(task))
    (folder / "pruner.py").write_bytes(job.source)
    np.save(folder / "calibration.npy", job.calibration, allow_pickle=False)
    mounts = [Mount(folder / name, f"/job/{name}") for name in ("job.json", "pruner.py", "calibration.npy")]
    mounts += [Mount(file.resolve(), f"/job/{name}") for name, file in job.known.items()]
    for file in job.target.model_files:
        readable = file
        if not file.stat().st_mode & 0o004:  # the sandbox's user could not read it
            readable = folder / f"model-{file.name}"
            shutil.copyfile(file, readable)
        mounts.append(Mount(readable.resolve(), f"/job/model/{file.name}"))
    for mount in mounts:
        if mount.source.parent == folder:
            mount.source.chmod(0o444)
    return mounts


def _remove_leftovers(runs: Path) -> None:
    """Remove what a harness that was killed left here a day ago or earlier."""
    for folder in runs.iterdir():
        try:
            if time.time() - folder.stat().st_mtime > _LEFTOVER_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
        except FileNotFoundError:  # another process was quicker
            continue


def _made(path: Path) -> int:
    """An empty file that the sandbox's user may write, behind a descriptor that the host keeps."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o666)  # its folder lets nobody else in
    return descriptor


def _judged(execution: Execution, limits: Limits, layout: Layout, output: int, report_file: int) -> SandboxRun:
    report = _report(report_file)
    status, failure = _status(execution, limits, _complete(output, layout), report)
    seconds = report.get("prune_seconds")
    if type(seconds) is not float or not 0 <= seconds <= execution.wall_seconds:
        seconds = None
    return SandboxRun(
        status=status,
        failure=failure,
        execution=execution,
        prune_seconds=seconds if status is None else None,
        uniform=report.get("uniform") is not False,
        output=output,
        notes=_notes(report.get("notes")) if status is None else (),
    )


def _status(
    execution: Execution, limits: Limits, complete: bool, report: dict[str, Any]
) -> tuple[Status | None, Failure | None]:
    """The first rule that matches decides."""
    if execution.timed_out:
        return Status.TIMEOUT, _failure(Status.TIMEOUT, f"not done after {limits.timeout_seconds:g} s")
    if execution.exit_code == 0 and complete:
        return None, None
    if execution.out_of_memory:
        limit = limits.memory_bytes / _GIB
        return Status.OUT_OF_MEMORY, _failure(Status.OUT_OF_MEMORY, f"killed at the memory limit of {limit:.2f} GiB")
    if execution.signal in _RESOURCE_SIGNALS:
        message = f"killed at the limit of {_RESOURCE_SIGNALS[execution.signal]}"
        return Status.RESOURCE_LIMIT, _failure(Status.RESOURCE_LIMIT, message)
    if execution.signal is not None:
        name = _SIGNAL_NAMES.get(execution.signal, f"signal {execution.signal}")
        return Status.CRASHED, _failure(Status.CRASHED, f"killed by {name}")
    kind = _REPORTED_KINDS.get(str(report.get("kind")))
    if execution.exit_code and kind is not None:
        return kind, _reported(kind, report)
    message = f"ended with exit code {execution.exit_code} and without a result"
    return Status.EXITED, _failure(Status.EXITED, message)


def _failure(status: Status, message: str) -> Failure:
    return Failure(status.stage, status.value, message)


def _reported(kind: Status, report: dict[str, Any]) -> Failure:
    line = report.get("line")
    return Failure(
        stage=kind.stage,
        type=_words(report.get("type"), 200) or kind.value,
        message=_words(report.get("message"), 2000) or "",
        line=line if type(line) is int and 0 < line < 1 << 31 else None,
        traceback=_words(report.get("traceback"), 8000),
    )


def _notes(value: object) -> tuple[str, ...]:
    notes = value[:NOTES] if isinstance(value, list) else []
    return tuple(words for note in notes if (words := _words(note, NOTE_CHARACTERS)))


def _words(value: object, limit: int) -> str | None:
    """A text of the report, bounded and encodable."""
    return value[:limit].encode("utf-8", "replace").decode() if isinstance(value, str) else None


def _report(descriptor: int) -> dict[str, Any]:
    """The worker's report, whose every word may be forged; empty when it is none."""
    try:
        report = json.loads(os.pread(descriptor, _REPORT_BYTES, 0))
    except (ValueError, RecursionError):
        return {}
    return report if isinstance(report, dict) else {}


def _complete(descriptor: int, layout: Layout) -> bool:
    """Whether the output was marked as complete; its size is checked with its content."""
    return os.pread(descriptor, len(MAGIC), layout.end_offset) == MAGIC
