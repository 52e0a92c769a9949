"""One bubblewrap process from its start to the end of everything in its namespaces."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from harness.errors import SandboxFault
from harness.records import Execution
from harness.sandboxes.contention import busy_seconds, contended, waited_seconds
from harness.sandboxes.interior import exit_or_signal

_POLL_SECONDS = (0.005, 0.05)
_KILL_SECONDS = 30.0
_SYSCTLS = {
    "kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "AppArmor forbids user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or use Docker",
    ),
    "kernel/unprivileged_userns_clone": (
        "0",
        "the kernel forbids user namespaces: sysctl kernel.unprivileged_userns_clone=1, or use Docker",
    ),
    "user/max_user_namespaces": (
        "0",
        "the kernel forbids user namespaces: sysctl user.max_user_namespaces=10000, or use Docker",
    ),
}


class Pipe:
    """A pipe; closed on leaving the `with` block."""

    def __enter__(self) -> Pipe:
        self.reader, self.writer = os.pipe()
        self._open = {self.reader, self.writer}
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._open:
            os.close(descriptor)

    def close(self, descriptor: int) -> None:
        """Close one end, once a child has its own."""
        self._open.remove(descriptor)
        os.close(descriptor)

    def read(self) -> bytes:
        """What is there now; never waits."""
        os.set_blocking(self.reader, False)
        try:
            return os.read(self.reader, 1 << 16)
        except BlockingIOError:
            return b""


@dataclass(frozen=True, slots=True)
class Pipes:
    """What a bwrap process and the first process inside share with this one."""

    information: IO[bytes]
    """Gets bwrap's --info-fd. A file: when the harness dies, a pipe would break and stop bwrap half-way."""
    alive: Pipe
    """Its writing end is open here, and nowhere else, as long as the run may go on."""
    started: Pipe
    """Gets a byte when all is set up and the program is about to run."""


@contextlib.contextmanager
def open_pipes() -> Iterator[Pipes]:
    """Pipes for one run."""
    with tempfile.TemporaryFile() as information, Pipe() as alive, Pipe() as started:
        yield Pipes(information, alive, started)


def supervise(
    command: Sequence[str],
    standard_input: str,
    seccomp_descriptor: int,
    pipes: Pipes,
    timeout_seconds: float,
    processors: float,
) -> Execution:
    """Run a bwrap command, wait for its end or bring it about at the deadline.

    Args:
        command: the command, or one that turns into it.
        standard_input: what it reads.
        seccomp_descriptor: of the filter, inherited like the pipes' ends.
        pipes: of this run.
        timeout_seconds: for all of it.
        processors: how many it can use at once.

    Raises:
        SandboxFault: it ended before the program ran.
    """
    with tempfile.TemporaryFile("w+") as source, Pipe() as messages:
        source.write(standard_input)
        source.seek(0)
        start, busy_before = time.monotonic(), busy_seconds()
        process = subprocess.Popen(
            command,
            stdin=source,
            stdout=subprocess.DEVNULL,
            stderr=messages.writer,
            pass_fds=(seccomp_descriptor, pipes.information.fileno(), pipes.alive.reader, pipes.started.writer),
            env={},
            cwd="/",
        )
        for pipe in (messages, pipes.started):
            pipe.close(pipe.writer)
        try:
            code, cpu_seconds = _wait(process, start + timeout_seconds)
            excused = False
            if timed_out := code is None:
                below = _below(process.pid)
                cpu_seconds = _cpu_seconds(below.values())  # those killed now count nowhere afterwards
                busy = None if busy_before is None else (busy_seconds() or 0.0) - busy_before
                excused = contended(cpu_seconds, waited_seconds(below), busy, time.monotonic() - start, processors)
                code = _kill(process, pipes)
        except BaseException:
            if process.returncode is None:
                _kill(process, pipes)
            raise
        wall_seconds = time.monotonic() - start
        if not pipes.started.read() and not timed_out:
            raise SandboxFault(_reason(messages.read()))
    exit_code, signal_number = exit_or_signal(code or 0)
    return Execution(
        exit_code=None if timed_out else exit_code,
        signal=None if timed_out else signal_number,
        timed_out=timed_out,
        out_of_memory=False,
        wall_seconds=wall_seconds,
        cpu_seconds=cpu_seconds,
        contended=timed_out and excused,
    )


def _wait(process: subprocess.Popen[bytes], until: float) -> tuple[int | None, float]:
    """Exit code, or None where it goes on after `until`, and the CPU seconds of all that ran in the namespaces.

    Their first process reaps all others, the supervised process reaps that one, and the kernel adds up.
    """
    pause = _POLL_SECONDS[0]
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage.ru_utime + usage.ru_stime
        left = until - time.monotonic()
        if left <= 0:
            return None, 0.0
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, _POLL_SECONDS[1])


def _kill(process: subprocess.Popen[bytes], pipes: Pipes) -> int:
    """End everything: the kernel ends a process namespace with its first process, before that one can be reaped.

    While the namespaces are still being set up, that process does not run yet; it ends when it does.
    """
    pipes.alive.close(pipes.alive.writer)
    if first := re.search(rb'"child-pid":\s*(\d+)', os.pread(pipes.information.fileno(), 1 << 12, 0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(first[1]), signal.SIGKILL)
    code, _ = _wait(process, time.monotonic() + _KILL_SECONDS)
    if code is None:
        process.kill()
        raise SandboxFault("the kernel does not end a process that was killed: look for a hung disk or driver")
    return code


def _below(pid: int) -> dict[int, int]:
    """A process and its living descendants: id -> ticks of the processor that it and its reaped children have used."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            parents[int(folder.name)] = int(fields[1])
            ticks[int(folder.name)] = sum(int(field) for field in fields[11:15])
    found, waiting = dict[int, int](), {pid}
    while waiting:
        found |= {process: ticks.get(process, 0) for process in waiting}
        waiting = {process for process, parent in parents.items() if parent in waiting}
    return found


def _cpu_seconds(ticks: Iterable[int]) -> float:
    return sum(ticks) / os.sysconf("SC_CLK_TCK")


def _reason(messages: bytes) -> str:
    """One line on why nothing could be started, and what to do."""
    text = messages.decode(errors="replace").strip()
    if re.search("namespace|uid map|permi", text, re.IGNORECASE):
        for name, (value, advice) in _SYSCTLS.items():
            with contextlib.suppress(OSError):
                if Path("/proc/sys", name).read_text().strip() == value:
                    return f"bubblewrap cannot work here: {advice}"
    lines = text.splitlines() or ["it said nothing"]
    return f"bubblewrap could not start the program ({lines[-1][:300]}): where namespaces are restricted, use Docker"
