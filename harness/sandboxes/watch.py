"""One container from its start to its end: deadline, counts, and who ended it."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docker.errors import APIError, NotFound

from harness.errors import SandboxFault
from harness.records import Execution, Limits
from harness.sandboxes import interior
from harness.sandboxes.cgroup import Usage, processes
from harness.sandboxes.contention import busy_seconds, contended, waited_seconds

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

_COUNT_SECONDS = 0.01
_LOOK_SECONDS = (0.01, 0.25)
"""How long to wait before the engine is asked again: at first, and at most. Counts are read meanwhile."""
KILL_SECONDS = 30.0
"""How long the engine may take to end a container that was killed."""

_NEAR_LIMIT = 0.9
"""Of its memory limit, what a container must have used if it was killed for reaching it."""
_CONFLICT = 409


@dataclass(frozen=True, slots=True)
class _Counts:
    """Processor time in seconds: the container's, what it waited for, and the machine's; None where it is not known."""

    used: float | None
    waited: float | None
    busy: float | None

    @classmethod
    def now(cls, usage: Usage, pid: int, container: Container) -> _Counts:
        return cls(usage.cpu_seconds, waited_seconds(processes(pid, _id(container))), busy_seconds())

    def since(self, before: _Counts) -> tuple[float | None, float | None, float | None]:
        pairs = ((self.used, before.used), (self.waited, before.waited), (self.busy, before.busy))
        used, waited, busy = (None if now is None else now - (then or 0.0) for now, then in pairs)
        return used, waited, busy


def watch(client: DockerClient, container: Container, limits: Limits, processors: float) -> Execution:
    """Start a container, where it does not run yet, and wait for its end, or end it at the deadline.

    Raises:
        SandboxFault: somebody else ended it, the host ran out of memory, or the engine fails.
    """
    host_kills = _host_oom_kills()
    started = int(time.time())
    if container.status != "running":
        container.start()
    start = time.monotonic()
    usage, pause, timed_out, excused = Usage(), _LOOK_SECONDS[0], False, False
    before: _Counts | None = None
    while (state := _state(client, container))["Running"]:
        if usage.update(state["Pid"], _id(container)):  # then the counts tell of its end, and the engine may rest
            pause = _LOOK_SECONDS[1]
        elapsed = time.monotonic() - start
        if before is None:  # of a container that waited, what it used until now
            before = _Counts.now(usage, state["Pid"], container)
        if elapsed >= limits.timeout_seconds:
            if not timed_out:
                since = _Counts.now(usage, state["Pid"], container).since(before)
                excused = contended(*since, elapsed, processors)
            timed_out = True
            _kill(container)
        if elapsed >= limits.timeout_seconds + KILL_SECONDS:
            raise SandboxFault("the Docker engine does not end a container that was killed: restart the engine")
        _count(usage, state["Pid"], container, min(pause, max(limits.timeout_seconds - elapsed, _COUNT_SECONDS)))
        pause = min(pause * 1.5, _LOOK_SECONDS[1])
    wall_seconds = time.monotonic() - start
    if state.get("Error"):
        raise SandboxFault(f"the Docker engine could not run the container: {' '.join(state['Error'].split())[:300]}")
    exit_code, signal_number = interior.exit_or_signal(state["ExitCode"])
    out_of_memory = bool(state["OOMKilled"] or usage.oom_kills)
    host_killed = _host_oom_kills() > host_kills
    peak = usage.peak_memory_bytes
    killed = signal_number == signal.SIGKILL and not timed_out and not out_of_memory
    far_from_limit = out_of_memory and peak is not None and peak < _NEAR_LIMIT * limits.memory_bytes
    not_counted = killed and usage.oom_kills is None  # elsewhere the container's own count says who it was
    if host_killed and (far_from_limit or not_counted):
        raise SandboxFault("the host ran out of memory and killed a run: lower --memory or run less beside it")
    if killed and _killed_through_engine(client, container, started):
        raise SandboxFault("somebody killed or removed the container of a run: run it again")
    return Execution(
        exit_code=None if timed_out else exit_code,
        signal=None if timed_out else signal_number,
        timed_out=timed_out,
        out_of_memory=out_of_memory,
        wall_seconds=wall_seconds,
        cpu_seconds=usage.cpu_seconds,
        peak_memory_bytes=usage.peak_memory_bytes,
        contended=timed_out and excused,
    )


def _count(usage: Usage, pid: int, container: Container, seconds: float) -> None:
    """Read the counts again and again for so long, or until the container's first process has ended."""
    until = time.monotonic() + seconds
    seen = True
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _COUNT_SECONDS) if seen else left)
        was, seen = seen, usage.update(pid, _id(container))
        if was and not seen and usage.cpu_seconds is not None:
            return


def _id(container: Container) -> str:
    return str(container.id)


def _state(client: DockerClient, container: Container) -> dict[str, Any]:
    try:
        state: dict[str, Any] = client.api.inspect_container(_id(container))["State"]
    except NotFound as error:
        raise SandboxFault("somebody removed the container of a run: run it again") from error
    return state


def _killed_through_engine(client: DockerClient, container: Container, since: int) -> bool:
    """Whether anyone asked the engine to kill the container; a program inside cannot."""
    events = client.events(
        since=since, until=int(time.time()) + 1, decode=True, filters={"container": _id(container), "event": "kill"}
    )
    return any(True for _ in events)


def _kill(container: Container) -> None:
    try:
        container.kill("SIGKILL")
    except APIError as error:
        if error.status_code != _CONFLICT:  # it has ended by itself meanwhile
            raise


def _host_oom_kills() -> int:
    try:
        counts = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
        return int(counts.get("oom_kill", 0))
    except OSError:
        return 0
