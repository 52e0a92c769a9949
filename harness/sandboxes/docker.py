"""Isolation by a Docker container that has nothing but its mounts, and by gVisor below it where asked for."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from docker.errors import APIError, NotFound
from docker.types import DeviceRequest, LogConfig, Ulimit
from docker.types import Mount as Bind

from harness.errors import Fault, ImageFault, SandboxFault
from harness.records import Execution, Limits, Mount
from harness.sandboxes import interior, readback, seccomp
from harness.sandboxes.engine import connect
from harness.sandboxes.image import find_image
from harness.sandboxes.owners import has_died, owner
from harness.sandboxes.watch import KILL_SECONDS, watch
from sandbox.waiting import IDLE_SECONDS

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

_OWNER = "harness.owner"
_PYTHON = "/opt/venv/bin/python"
_CONFLICT = 409

_running: set[str] = set()
"""Names of the containers that this process is waiting for, or has started ahead."""

_left: set[str] = set()
"""Names of containers that this process is done with, and that may still be there: its engine failed meanwhile."""

_starters = ThreadPoolExecutor(1, "harness-starter")


def _gpu() -> DeviceRequest:
    """The GPU that this process computes on: the first of those that it may see."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    return DeviceRequest(device_ids=[visible or "0"], capabilities=[["gpu"]])


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


class DockerSandbox:
    """Runs the program in a hardened container of the sandbox image, one container a run.

    `runtime` names another runtime of the engine, such as runsc (gVisor).
    """

    def __init__(self, runtime: str | None = None, command: Sequence[str] = interior.COMMAND) -> None:
        self.isolation = f"docker:{runtime}" if runtime else "docker"
        self.waits = runtime is None  # gVisor need not show inside what changes outside
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
                return watch(client, container, limits, self._cpus(limits))
        finally:
            self._drop(name)

    def warm(self, mounts: list[Mount], limits: Limits, file_bytes: int) -> None:
        """As `harness.records.Sandbox` says."""
        if self.waits:
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
        life = request.limits.timeout_seconds + 2 * KILL_SECONDS  # longer than this process needs to end it
        command = interior.first_process(
            _PYTHON, self._arguments, life_seconds=life, linger_seconds=interior.LINGER_SECONDS
        )
        return client.containers.create(find_image(client), command, name=name, **options)

    def _options(self, mounts: list[Mount], limits: Limits, file_bytes: int) -> dict[str, Any]:
        cpu_seconds = interior.cpu_seconds_limit(limits)
        uid = interior.next_uid()
        return {
            "runtime": self._runtime,
            "labels": {_OWNER: owner()},
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
            "device_requests": [_gpu()] if limits.device == "cuda" else [],
        }

    def _cpus(self, limits: Limits) -> int:
        return min(limits.threads, self._engine_cpus)

    @staticmethod
    def _remove_leftovers(client: DockerClient) -> None:
        """Remove what died processes of the harness on this machine left, and this one when its engine failed."""
        for container in client.containers.list(all=True, filters={"label": _OWNER}, ignore_removed=True):
            label = container.labels[_OWNER]
            if has_died(label) or (label == owner() and container.name not in _running):
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


def _remove(container: Container) -> None:
    try:
        container.remove(force=True, v=True)
    except NotFound:
        pass
    except APIError as error:
        if error.status_code != _CONFLICT:  # somebody else's removal is under way
            raise
