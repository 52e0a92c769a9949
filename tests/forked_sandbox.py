"""No sandbox, and no start of Python either: a worker is forked from a process that has its libraries loaded."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

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
        os.environ.clear()
        os.environ.update(request['environment'])
        os._exit(worker.run(pathlib.Path(request['job']), pathlib.Path(request['out'])))
    print(child, file=answers)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers)
"""
_ONE_AT_A_TIME = threading.Lock()


class ForkedSandbox(TrustedSandbox):
    """As `TrustedSandbox`, in a fraction of its time; a test that changes `sandbox/` needs that one."""

    def exit_code(self, folder: Path, seconds: float) -> int | None:
        """As there."""
        with _ONE_AT_A_TIME:
            server = _server(sandbox_package().parent)
            assert server.stdin is not None
            assert server.stdout is not None
            request = {"environment": dict(os.environ), "job": f"{folder}/job/job.json", "out": f"{folder}/out"}
            server.stdin.write(json.dumps(request).encode() + b"\n")
            child = int(server.stdout.readline())
            in_time = bool(select.select([server.stdout], [], [], seconds)[0])
            if not in_time:
                os.kill(child, signal.SIGKILL)
            code = int(server.stdout.readline())
        return code if in_time else None


@cache
def _server(folder: Path) -> subprocess.Popen[bytes]:
    """It ends when this process does, and what it reads from is closed."""
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
