"""The program inside the sandbox: `python -m sandbox.worker JOB.json` runs one pruner on one job.

It may be started before there is a job: it waits, its libraries loaded, until the file `go` beside the job has a byte.
It reads the job beside the dense model, the calibration tokens and the pruner's file, and writes the output file of
`sandbox.layout` and a report of at most 64 KiB. The report names the kind of an error and its words; whether
there was a result is for the host to see. The pruner's code shares this process, so nothing here is trusted outside.
"""

from __future__ import annotations

import inspect
import json
import os
import random
import sys
import time
import traceback
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sandbox import interface
from sandbox.checkpoint import CPU, Checkpoint
from sandbox.layout import LayerSpec, Layout, OutputFile
from sandbox.task import PruningTask, Sparsity
from sandbox.waiting import GO, wait
from sandbox.weights import BadWeight

REPORTED = 10
"""Exit code of a run that ended with an error which the report names."""

_dumps = json.dumps  # as it is before the pruner's code runs
_MESSAGE_CHARACTERS = 2000
_TRACEBACK_CHARACTERS = 8000


class CandidateError(Exception):
    """An error of the pruner's file, with the status that names its kind."""

    def __init__(self, kind: str, error: BaseException | None, message: str | None = None) -> None:
        self.kind = kind
        self.error = error
        self.message = message


def run(job_file: Path, output_folder: Path) -> int:
    """Run the job and return the exit code."""
    job = json.loads(job_file.read_text())
    torch.set_num_threads(job["threads"])
    random.seed(job["seed"])
    np.random.seed(job["seed"] % 2**32)
    torch.manual_seed(job["seed"])
    report: dict[str, Any] = {"uniform": True}
    folder = job_file.parent
    # opened before the pruner runs, which may leave no descriptor for it
    descriptor = os.open(output_folder / "report.json", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        prune, report["uniform"] = _load(folder / "pruner.py")
        layers = [LayerSpec(*entry) for entry in job["layers"]]
        output = OutputFile(str(output_folder / "weights"), Layout(layers))
        checkpoint = Checkpoint(folder / "model", torch.device(job["device"]))
        if checkpoint.device != CPU:
            torch.set_default_device(checkpoint.device)  # what a pruner makes is where its weights are
        calibration = torch.from_numpy(np.load(folder / "calibration.npy", allow_pickle=False))
        started = time.monotonic()
        task: PruningTask | None = None
        for sparsity in job["sparsities"]:
            task = PruningTask(
                checkpoint=checkpoint,
                layers=layers,
                output=output,
                calibration=calibration,
                sparsity=Sparsity(**sparsity),
                statistics=job["statistics"],
                seed=job["seed"],
                dtype=getattr(torch, job["dtype"]),
                earlier=task,
            )
            _prune(prune, task)
            report["notes"] = task.notes
        report["prune_seconds"] = time.monotonic() - started
        output.finish()
    except CandidateError as failed:
        report.pop("notes", None)  # its words would have no room beside a traceback
        report |= _described(failed, str(folder / "pruner.py"))
    text = _dumps(report)
    try:
        (output_folder / "report.json").write_text(text)
    except OSError:
        os.pwrite(descriptor, text.encode(), 0)
    os.close(descriptor)
    return REPORTED if "kind" in report else 0


def _load(path: Path) -> tuple[Any, bool]:
    """Execute the pruner's file; its `prune`, and whether it spreads its budget evenly."""
    module = types.ModuleType("pruner")
    module.__file__ = str(path)
    names = module.__dict__
    names["NotApplicable"] = interface.NotApplicable
    sys.modules["pruner"] = module
    sys.modules["interface"] = interface
    try:
        code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise CandidateError("SYNTAX_ERROR", error) from None
    _guarded("source", lambda: exec(code, names))  # noqa: S102 - what the sandbox is for
    _guarded("source", lambda: _check_interface(names.get("prune")))
    return names["prune"], names.get("UNIFORM", True) is not False


def _check_interface(prune: Any) -> None:
    if not callable(prune):
        raise CandidateError("INTERFACE_ERROR", None, "the file defines no function `prune`")
    if inspect.isgeneratorfunction(prune) or inspect.iscoroutinefunction(prune):
        raise CandidateError("INTERFACE_ERROR", None, "`prune` must be a plain function")
    try:
        inspect.signature(prune).bind(None)
    except (TypeError, ValueError) as error:
        raise CandidateError("INTERFACE_ERROR", error, "`prune` must take the task as its one argument") from None


def _prune(prune: Any, task: PruningTask) -> None:
    def prune_and_write() -> None:
        prune(task)
        task.finish()

    _guarded("run", prune_and_write)


def _guarded(stage: str, call: Any) -> None:
    """The one boundary where any exception is caught: the pruner's code may raise whatever it likes."""
    try:
        call()
    except CandidateError:
        raise
    except BaseException as error:  # noqa: BLE001
        raise CandidateError(_kind(stage, error), error) from None


def _kind(stage: str, error: BaseException) -> str:
    if isinstance(error, interface.NotApplicable):
        return "NA"
    if isinstance(error, BadWeight):
        return "BAD_OUTPUT"
    if isinstance(error, SystemExit):
        return "EXITED"
    if isinstance(error, ImportError):
        return "IMPORT_ERROR"
    if _is_resource(error):
        return "RESOURCE_LIMIT"
    return "SYNTAX_ERROR" if stage == "source" and isinstance(error, SyntaxError) else "RUNTIME_ERROR"


def _is_resource(error: BaseException) -> bool:
    """Whether a limit of the sandbox was met: memory, threads, files, disk."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno in _RESOURCE_ERRNOS
    words = str(error.args)[:500] if type(error) is RuntimeError else ""
    return "can't allocate memory" in words or "can't start new thread" in words


_RESOURCE_ERRNOS = {11, 12, 23, 24, 27, 28, 122}
"""EAGAIN, ENOMEM, ENFILE, EMFILE, EFBIG, ENOSPC, EDQUOT."""


def _described(failed: CandidateError, path: str) -> dict[str, Any]:
    """The report's words for an error: bounded, and robust against an exception that cannot be printed."""
    error = failed.error
    words: dict[str, Any] = {"kind": failed.kind, "type": None, "message": failed.message, "line": None}
    words["traceback"] = None
    if error is None:
        return words
    words["type"] = type.__dict__["__name__"].__get__(type(error))[:200]  # a metaclass may have a say in its own
    if failed.message is None:
        try:
            words["message"] = str.__getitem__(str(error), slice(_MESSAGE_CHARACTERS))
        except BaseException:  # noqa: BLE001 - still the boundary: its __str__ is the pruner's code too
            words["message"] = "(the exception's own text could not be made)"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == path]
    if own:
        words["line"] = own[-1].lineno
    elif isinstance(error, SyntaxError) and error.filename == path:
        words["line"] = error.lineno
    shown = frames[next((i for i, frame in enumerate(frames) if frame.filename == path), 0) :]
    lines = "".join(traceback.format_list(shown[-20:]))[-_TRACEBACK_CHARACTERS:].replace(path, "pruner.py")
    words["traceback"] = f"{lines}{words['type']}: {words['message']}"[:_TRACEBACK_CHARACTERS]
    return words


def main() -> None:
    """Run the job with everything printed going nowhere, and leave at once."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    wait(Path(GO))
    code = run(Path(sys.argv[1]), Path("/out"))
    os._exit(code)  # no exit handlers, threads or finalisers of the pruner's


if __name__ == "__main__":
    main()
