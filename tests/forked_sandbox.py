"""No sandbox, and no start of Python either: a worker is forked from a process that has its libraries loaded."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from harness.resources import sandbox_package
from harness.testing.trusted_sandbox import TrustedSandbox

_PROGRAM = """
import json, os, pathlib, sys
from sandbox import worker
from transformers.models.llama import modeling_llama
from transformers.models.opt import modeling_opt

answers = os.fdopen(os.dup(1), 'w', buffering=1)
os.dup2(2, 1)
for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.close(answers.fileno())
        os.environ.clear()
        os.environ.update(request['environment'])
        os._exit(worker.run(pathlib.Path(request['job']), pathlib.Path(request['out'])))
    print(child, file=answers)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers)
"""


class Forker:
    """The process that forks workers, one at a time; started when the first is wanted, and again where it has died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def exit_code(self, request: dict[str, Any], seconds: float) -> int | None:
        """Of one worker; None where it took longer than `seconds`."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _PROGRAM],
                    cwd=sandbox_package().parent,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    bufsize=0,
                    start_new_session=True,
                )
            try:
                return self._asked(self._process, request, seconds)
            except BaseException:  # an interrupt, too: what it says next would be taken for another worker's
                self.kill()
                raise

    @staticmethod
    def _asked(process: subprocess.Popen[bytes], request: dict[str, Any], seconds: float) -> int | None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request).encode() + b"\n")
        child = int(process.stdout.readline())
        in_time = bool(select.select([process.stdout], [], [], seconds)[0])
        if not in_time:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        code = int(process.stdout.readline())
        return code if in_time else None

    def kill(self) -> None:
        """With the worker that it may have."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def end(self) -> None:
        """As it ends by itself, which writes down what it has covered."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
        self.kill()


_FORKER = Forker()
atexit.register(_FORKER.end)


class ForkedSandbox(TrustedSandbox):
    """As `TrustedSandbox`, in a fraction of its time; a test that changes `sandbox/` needs that one."""

    def exit_code(self, folder: Path, seconds: float) -> int | None:
        """As there."""
        request = {"environment": dict(os.environ), "job": f"{folder}/job/job.json", "out": f"{folder}/out"}
        return _FORKER.exit_code(request, seconds)
