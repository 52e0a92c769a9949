"""Reads the limits of a sandbox back from inside: an engine may accept what its kernel does not keep."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.errors import SandboxFault
from harness.records import Limits, Mount, Sandbox

_LIMITS = Limits(timeout_seconds=60.0, memory_bytes=512 << 20, processes=32, threads=1)

_PROBE = """
import json, os, pathlib, socket
def number(*names):
    for name in names:
        try:
            return int(pathlib.Path('/sys/fs/cgroup', name).read_text())
        except (OSError, ValueError):
            pass
    return None
def writable(path):
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    except OSError:
        return False
    return True
def networked():
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM).connect(('192.0.2.1', 9))
    except OSError:
        return False
    return True
status = dict(line.split(':', 1) for line in open('/proc/self/status') if ':' in line)
found = {
    'uid': os.getuid(),
    'capabilities': int(status.get('CapBnd', '0'), 16) | int(status.get('CapEff', '0'), 16),
    'no_new_privileges': status.get('NoNewPrivs', '1').strip() == '1',
    'filtered': status.get('Seccomp', '2').strip() == '2',
    'networked': networked(),
    'writable': [path for path in ('/harness-probe', '/proc/sys/kernel/core_pattern') if writable(path)],
    'memory_bytes': number('memory.max', 'memory/memory.limit_in_bytes'),
    'swap_bytes': number('memory.swap.max'),
    'memory_and_swap_bytes': number('memory/memory.memsw.limit_in_bytes'),
    'swap': not any(line.startswith('SwapTotal:') and line.split()[1] == '0' for line in open('/proc/meminfo')),
    'processes': number('pids.max', 'pids/pids.max'),
}
with open('/out/found.json', 'w') as file:
    json.dump(found, file)
"""


def read_back(make: Callable[[Sequence[str]], Sandbox], limited: bool) -> None:
    """See that a level isolates, and that its limits of memory, swap and processes are those that were set.

    Args:
        make: a sandbox of the level that runs the given arguments of Python.
        limited: whether the level sets limits for all processes together.

    Raises:
        SandboxFault, ImageFault: it does not start, does not isolate, or accepted a limit that is not kept.
    """
    sandbox = make(("-P", "-c", _PROBE))
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        answer = Path(folder, "found.json")
        answer.touch()
        answer.chmod(0o666)
        execution = sandbox.execute([Mount(answer, "/out/found.json", writable=True)], _LIMITS, 1 << 20)
        if execution.exit_code != 0:
            raise SandboxFault(f"{sandbox.isolation} starts, but Python fails inside: build the image again")
        found: dict[str, Any] = json.loads(answer.read_text())
    if broken := _broken(found):
        raise SandboxFault(f"{sandbox.isolation} does not isolate here ({', '.join(broken)}): use another level")
    if limited and (loose := _loose(found)):
        raise SandboxFault(
            f"{sandbox.isolation} accepts limits that it does not keep, or that cannot be read inside"
            f" ({', '.join(loose)}): give the engine these controllers of its control groups, or use another one"
        )


def _broken(found: dict[str, Any]) -> list[str]:
    return [
        *(["the program is root"] if found["uid"] == 0 else []),
        *(["it has capabilities"] if found["capabilities"] else []),
        *(["it may gain privileges"] if not found["no_new_privileges"] else []),
        *(["no system call filter"] if not found["filtered"] else []),
        *(["a network"] if found["networked"] else []),
        *(f"{path} is writable" for path in found["writable"]),
    ]


def _loose(found: dict[str, Any]) -> list[str]:
    with_swap = _LIMITS.memory_bytes == found["memory_and_swap_bytes"] or found["swap_bytes"] == 0 or not found["swap"]
    return [
        *(["memory"] if found["memory_bytes"] != _LIMITS.memory_bytes else []),
        *(["swap"] if not with_swap else []),
        *(["processes"] if found["processes"] != _LIMITS.processes else []),
    ]
