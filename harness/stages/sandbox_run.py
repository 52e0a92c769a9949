"""SandboxRun: one pruner on one job, and its status from what the host saw."""

from __future__ import annotations

import errno
import io
import json
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import ContentionFault, StorageFault
from harness.records import Execution, Failure, Limits, Sandbox, Sparsity
from harness.resources import cache_folder
from harness.run_folder import RunFolder
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


class SandboxRuns:
    """Runs of pruners in one sandbox, one after the other.

    Where another one follows, its container starts while the pruner before it is scored, and that of the first one may
    start while the target is opened: the pool holds one, as one runs at a time, and each serves one run.
    """

    def __init__(self, sandbox: Sandbox, limits: Limits) -> None:
        self.sandbox = sandbox
        self.limits = limits
        self._spare: list[RunFolder] = []
        self._end = weakref.finalize(self, _end, sandbox, self._spare)

    @contextmanager
    def run(self, job: Job, *, more: bool = False) -> Iterator[SandboxRun]:
        """Run a pruner; its output can be read until the block ends.

        Args:
            job: what it is given.
            more: whether another run on this target follows.

        Raises:
            Fault: the sandbox failed, or the disk has no room. Says nothing about the pruner.
        """
        try:
            folder, execution = self._executed(job)
            try:
                if execution.contended:
                    folder.remove()
                    self.close()
                    folder, execution = self._executed(job)  # once more, with nothing of ours beside it
                if execution.contended:
                    raise _contention_fault(execution, self.limits)
                if more:
                    self.prepare(job.target, job.known)
                yield _judged(execution, self.limits, folder.layout, folder.output, folder.report)
            finally:
                folder.remove()
        except OSError as error:
            raise _storage_fault(error, job) from error

    def prepare(self, target: Target, known: Mapping[str, Path] | None = None) -> int:
        """Start what the next run on a target will need, `known` being that of its job; bytes that it takes on disk.

        Raises:
            OSError: the disk has no room for it.
        """
        if not self.sandbox.waits:
            return 0
        self._spare.append(RunFolder(target, known or {}))
        self.sandbox.warm(self._spare[0].mounts, self.limits, self._spare[0].layout.total_bytes)
        return self._spare[0].size

    def close(self) -> None:
        """End what waits for a run that does not come."""
        _end(self.sandbox, self._spare)

    def _executed(self, job: Job) -> tuple[RunFolder, Execution]:
        folder = self._folder(job)
        try:
            folder.fill(_inputs(job, self.limits))
            return folder, self.sandbox.execute(folder.mounts, self.limits, folder.layout.total_bytes)
        except BaseException:
            folder.remove()
            raise

    def _folder(self, job: Job) -> RunFolder:
        if self._spare:
            if self._spare[0].fits(job.target, job.known):
                return self._spare.pop()
            self.close()
        return RunFolder(job.target, job.known)


def _end(sandbox: Sandbox, spare: list[RunFolder]) -> None:
    sandbox.cool()
    while spare:
        spare.pop().remove()


def _inputs(job: Job, limits: Limits) -> dict[str, bytes]:
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
    calibration = io.BytesIO()
    np.save(calibration, job.calibration, allow_pickle=False)
    return {
        "job.json": json.dumps(task).encode(),
        "pruner.py": job.source,
        "calibration.npy": calibration.getvalue(),
    }


def _contention_fault(execution: Execution, limits: Limits) -> ContentionFault:
    got = "" if execution.cpu_seconds is None else f" ({execution.cpu_seconds:.1f} s of processor time)"
    return ContentionFault(
        f"other work on the machine left a run too little of its {limits.timeout_seconds:g} s{got}, twice:"
        " run it again when the machine is quiet, or give a longer --timeout"
    )


def _storage_fault(error: OSError, job: Job) -> Exception:
    """`error`, or the fault that it is where the disk has no room or may not be written."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
        return error
    need = Layout(job.target.layers).total_bytes / _GIB
    runs = cache_folder() / "runs"
    return StorageFault(f"cannot write {need:.2f} GiB under {runs}: {error.strerror}; make room or set HARNESS_CACHE")


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
    word = report.get("kind")
    kind = _REPORTED_KINDS.get(word) if isinstance(word, str) else None
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
