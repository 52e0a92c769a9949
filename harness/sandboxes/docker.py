"""Isolation by a Docker container that has nothing but its mounts, and by gVisor below it where asked for."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docker.errors import APIError, NotFound
from docker.types import DeviceRequest, LogConfig, Ulimit
from docker.types import Mount as Bind

from harness.errors import Fault, ImageFault, SandboxFault
from harness.records import Execution, Limits, Mount
from harness.sandboxes import interior, readback, seccomp
from harness.sandboxes.cgroup import Usage, processes
from harness.sandboxes.contention import busy_seconds, contended, waited_seconds
from harness.sandboxes.engine import connect
from harness.sandboxes.image import find_image
from sandbox.waiting import IDLE_SECONDS

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

_OWNER = "harness.owner"
_PYTHON = "/opt/venv/bin/python"
_COUNT_SECONDS = 0.01
_LOOK_SECONDS = (0.01, 0.25)
"""How long to wait before the engine is asked again: at first, and at most. Counts are read meanwhile."""
_KILL_SECONDS = 30.0
_NEAR_LIMIT = 0.9
"""Of its memory limit, what a container must have used if it was killed for reaching it."""

_CONFLICT = 409

_FIRST_GPU = DeviceRequest(device_ids=["0"], capabilities=[["gpu"]])

_running: set[str] = set()
"""Names of the containers that this process is waiting for, or has started ahead."""

_left: set[str] = set()
"""Names of containers that this process is done with, and that may still be there: its engine failed meanwhile."""

_starters = ThreadPoolExecutor(1, "harness-starter")


@dataclass(frozen=True, slots=True)
class _Request:
    """What a container is made for."""

    mounts: tuple[Mount, ...]
    limits: Limits
    file_bytes: int


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A container that was started ahead."""

    request: _Request
    since: float
    started: Future[str]

    def name(self) -> str | None:
        """None where it could not be started, for whatever reason of ours: whoever needs it meets that again."""
        try:
            return self.started.result()
        except Fault:
            return None


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


class DockerSandbox:
    """Runs the program in a hardened container of the sandbox image, one container a run.

    `runtime` names another runtime of the engine, such as runsc (gVisor).
    """

    def __init__(self, runtime: str | None = None, command: Sequence[str] = interior.COMMAND) -> None:
        self.isolation = f"docker:{runtime}" if runtime else "docker"
        self._runtime = runtime
        self._arguments = list(command)
        self._waiting: list[_Waiting] = []
        with connect() as client:
            self._remove_leftovers(client)
            information = client.info()
        self._engine_cpus = int(information["NCPU"])
        if runtime and runtime not in information.get("Runtimes", {}):
            raise SandboxFault(f"the Docker engine has no runtime {runtime!r}: install it, or leave --runtime out")

    def check_image(self) -> str:
        """The id of the sandbox image.

        Raises:
            SandboxFault, ImageFault: as `execute` would.
        """
        with connect() as client:
            return find_image(client)

    def execute(self, mounts: list[Mount], limits: Limits, file_bytes: int) -> Execution:
        """As `harness.records.Sandbox` says."""
        interior.check_mounts(mounts, other_user=True)
        request = _Request(tuple(mounts), limits, file_bytes)
        name = self._taken(request) or _new_name()
        _running.add(name)
        try:
            with connect() as client:
                container = _find_running(client, name) or self._create(client, name, request)
                return self._watch(client, container, limits)
        finally:
            self._drop(name)

    def warm(self, mounts: list[Mount], limits: Limits, file_bytes: int) -> None:
        """As `harness.records.Sandbox` says. gVisor need not show inside what changes outside: nothing waits there."""
        if self._runtime is None:
            interior.check_mounts(mounts, other_user=True)
            request = _Request(tuple(mounts), limits, file_bytes)
            self._waiting.append(_Waiting(request, time.monotonic(), _starters.submit(self._start, request)))

    def cool(self) -> None:
        """As `harness.records.Sandbox` says."""
        while self._waiting:
            self._drop(self._waiting.pop().name())
        self._drop(None)

    def _taken(self, request: _Request) -> str | None:
        """The name of the container that waits for just this request; what else waits is ended."""
        found = None
        while self._waiting:
            waiting = self._waiting.pop()
            fresh = time.monotonic() - waiting.since < IDLE_SECONDS / 2  # well before it gives up
            if waiting.request == request and fresh and found is None:
                found = waiting.name()
            else:
                self._drop(waiting.name())
        return found

    @staticmethod
    def _drop(name: str | None) -> None:
        """Remove a container, and those that an engine that failed has kept; the next start removes what stays."""
        if name is not None:
            _left.add(name)
            _running.discard(name)
        if _left:
            with contextlib.suppress(SandboxFault), connect() as client:
                for each in tuple(_left):
                    _remove_named(client, each)
                    _left.discard(each)

    def _start(self, request: _Request) -> str:
        """Start a container that waits for its job, and return its name."""
        name = _new_name()
        _running.add(name)
        try:
            with connect() as client:
                self._create(client, name, request).start()
        except BaseException:
            self._drop(name)
            raise
        return name

    def _create(self, client: DockerClient, name: str, request: _Request) -> Container:
        options = self._options(list(request.mounts), request.limits, request.file_bytes)
        life = request.limits.timeout_seconds + 2 * _KILL_SECONDS  # longer than this process needs to end it
        command = interior.first_process(
            _PYTHON, self._arguments, life_seconds=life, linger_seconds=interior.LINGER_SECONDS
        )
        return client.containers.create(find_image(client), command, name=name, **options)

    def _options(self, mounts: list[Mount], limits: Limits, file_bytes: int) -> dict[str, Any]:
        cpu_seconds = interior.cpu_seconds_limit(limits)
        uid = interior.next_uid()
        return {
            "runtime": self._runtime,
            "labels": {_OWNER: _owner()},
            "environment": interior.environment(limits, "/opt/harness"),
            "user": f"{uid}:{uid}",
            "working_dir": "/tmp",  # noqa: S108 - inside the container
            "hostname": "sandbox",
            "entrypoint": [],
            "init": False,  # `first_process` is its own
            "network_mode": "none",
            "ipc_mode": "none",
            "cgroupns": "private",
            "read_only": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true", f"seccomp={seccomp.profile(limits.device)}"],
            "mem_limit": limits.memory_bytes,
            "memswap_limit": limits.memory_bytes,
            "pids_limit": limits.processes,
            "nano_cpus": int(self._cpus(limits) * 1e9),
            "oom_score_adj": 1000,
            "tmpfs": {
                "/tmp": f"nosuid,nodev,noexec,mode=1777,size={interior.TMP_BYTES},nr_inodes={interior.TMP_FILES}"  # noqa: S108
            },
            "ulimits": [
                Ulimit(name="fsize", soft=file_bytes, hard=file_bytes),
                Ulimit(name="nofile", soft=interior.OPEN_FILES, hard=interior.OPEN_FILES),
                Ulimit(name="memlock", soft=interior.LOCKED_BYTES, hard=interior.LOCKED_BYTES),
                Ulimit(name="cpu", soft=cpu_seconds, hard=cpu_seconds),
                Ulimit(name="msgqueue", soft=0, hard=0),
                Ulimit(name="core", soft=0, hard=0),
            ],
            "log_config": LogConfig(type="none"),
            "healthcheck": {"test": ["NONE"]},
            "stop_signal": "SIGKILL",
            "mounts": [_bind(mount) for mount in mounts],
            "device_requests": [_FIRST_GPU] if limits.device == "cuda" else [],
        }

    def _watch(self, client: DockerClient, container: Container, limits: Limits) -> Execution:
        """Start the container, where it does not run yet, and wait for its end, or end it at the deadline."""
        host_kills = _host_oom_kills()
        started = int(time.time())
        if container.status != "running":
            container.start()
        start = time.monotonic()
        usage, pause, timed_out, excused = Usage(), _LOOK_SECONDS[0], False, False
        before: _Counts | None = None
        while (state := _state(client, container))["Running"]:
            usage.update(state["Pid"], _id(container))
            elapsed = time.monotonic() - start
            if before is None:  # of a container that waited, what it used until now
                before = _Counts.now(usage, state["Pid"], container)
            if elapsed >= limits.timeout_seconds:
                if not timed_out:
                    since = _Counts.now(usage, state["Pid"], container).since(before)
                    excused = contended(*since, elapsed, self._cpus(limits))
                timed_out = True
                _kill(container)
            if elapsed >= limits.timeout_seconds + _KILL_SECONDS:
                raise SandboxFault("the Docker engine does not end a container that was killed: restart the engine")
            _count(usage, state["Pid"], container, min(pause, max(limits.timeout_seconds - elapsed, _COUNT_SECONDS)))
            pause = min(pause * 1.5, _LOOK_SECONDS[1])
        wall_seconds = time.monotonic() - start
        if state.get("Error"):
            raise SandboxFault(
                f"the Docker engine could not run the container: {' '.join(state['Error'].split())[:300]}"
            )
        exit_code, signal_number = interior.exit_or_signal(state["ExitCode"])
        out_of_memory = bool(state["OOMKilled"] or usage.oom_kills)
        host_killed = _host_oom_kills() > host_kills
        peak = usage.peak_memory_bytes
        if out_of_memory and host_killed and peak is not None and peak < _NEAR_LIMIT * limits.memory_bytes:
            raise SandboxFault("the host ran out of memory and killed a run: lower --memory or run less beside it")
        killed = signal_number == signal.SIGKILL and not timed_out and not out_of_memory
        if killed and host_killed and usage.oom_kills is None:  # elsewhere the container's own count says who it was
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

    def _cpus(self, limits: Limits) -> int:
        return min(limits.threads, self._engine_cpus)

    @staticmethod
    def _remove_leftovers(client: DockerClient) -> None:
        """Remove what died processes of the harness on this machine left, and this one when its engine failed."""
        for container in client.containers.list(all=True, filters={"label": _OWNER}, ignore_removed=True):
            owner = container.labels[_OWNER]
            if _has_died(owner) or (owner == _owner() and container.name not in _running):
                _remove(container)


def check(runtime: str | None = None) -> str:
    """Run a container that reads its own limits back, and say in a line what engine there is and what it keeps.

    Raises:
        SandboxFault: no engine answers, or a promise of isolation is not kept.
    """
    with connect() as client:
        version = client.version()["Version"]
    try:
        keeps_promises(runtime)
    except ImageFault:
        kept = "limits unknown until the image is built"
    else:
        kept = "all limits read back as set"
    return f"Docker {version}, {runtime or 'default'} runtime; {kept}"


@cache
def keeps_promises(runtime: str | None = None) -> None:
    """Run a container that reads its own limits back; once in a process.

    Raises:
        SandboxFault, ImageFault: none can be run, it is not isolated, or a limit that was accepted is not kept.
    """
    readback.read_back(lambda command: DockerSandbox(runtime, command), limited=True)


def _count(usage: Usage, pid: int, container: Container, seconds: float) -> None:
    """Read the counts again and again for so long, or until the container's first process has ended."""
    until = time.monotonic() + seconds
    seen = True
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _COUNT_SECONDS) if seen else left)
        was, seen = seen, usage.update(pid, _id(container))
        if was and not seen and usage.cpu_seconds is not None:
            return


def _new_name() -> str:
    return f"harness-{uuid.uuid4().hex}"


def _find_running(client: DockerClient, name: str) -> Container | None:
    """A container that waits; None where there is none, or none that runs any more."""
    try:
        container = client.containers.get(name)
    except NotFound:
        return None
    if container.status == "running":
        return container
    _remove(container)
    return None


def _remove_named(client: DockerClient, name: str) -> None:
    with contextlib.suppress(NotFound):
        _remove(client.containers.get(name))


def _bind(mount: Mount) -> Bind:
    bind = Bind(mount.target, str(mount.source.resolve()), "bind", not mount.writable, propagation="rprivate")
    bind["BindOptions"]["NonRecursive"] = True  # what is mounted below would stay writable
    return bind


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


def _remove(container: Container) -> None:
    try:
        container.remove(force=True, v=True)
    except NotFound:
        pass
    except APIError as error:
        if error.status_code != _CONFLICT:  # somebody else's removal is under way
            raise


def _host_oom_kills() -> int:
    try:
        counts = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
        return int(counts.get("oom_kill", 0))
    except OSError:
        return 0


def _owner() -> str:
    """Names this process: where its id counts (other machines and containers may share the engine), id and start."""
    return f"{_machine()}/{os.getpid()}:{_started(os.getpid())}"


def _has_died(owner: str) -> bool:
    where, _, process = owner.rpartition("/")
    pid, _, started = process.partition(":")
    return where == _machine() and _started(int(pid)) != started


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{platform.node()}/{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return platform.node()


def _started(pid: int) -> str:
    """When a process started, so that a later one with the same id is told apart; `gone` when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        pass
    try:
        os.kill(pid, 0)  # no /proc on this system
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        pass
    return "alive"
