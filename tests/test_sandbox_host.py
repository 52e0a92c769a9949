"""The harness's own side of both levels of isolation: interrupts, engines that die, levels that are not there."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from harness import resources
from harness.errors import ImageFault, SandboxFault, UsageError
from harness.records import Mount
from harness.sandboxes import bubblewrap as bubblewrap_level
from harness.sandboxes import docker as docker_level
from harness.sandboxes import engine, open_sandbox
from harness.sandboxes.bubblewrap import BubblewrapSandbox
from harness.sandboxes.docker import DockerSandbox, _running
from tests.sandbox_runs import LEVELS, SMALL, Level, Run, containers, processes_with, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandboxes' tests look at Linux processes")


@pytest.mark.parametrize("level", LEVELS)
def test_two_runs_at_once_do_not_meet(level: Level, run: Callable[..., Run]) -> None:
    results: list[Run] = []
    program = "import time\nopen('/tmp/mine', 'x')\nprint(len(os.listdir('/tmp')), flush=True)\ntime.sleep(1)"
    threads = [threading.Thread(target=lambda: results.append(run(level, program))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.log for result in results] == ["1\n", "1\n"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_harness_leaves_nothing(level: type, number: int, tmp_path: Path) -> None:
    token = uuid.uuid4().hex
    program = f"token = {token!r}\nimport time\ntime.sleep(300)"
    harness = f"""
        from {level.__module__} import {level.__name__}
        from harness.records import Limits
        {level.__name__}(command=("-P", "-c", {program!r})).execute([], Limits(), 1000)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(harness)],
        stderr=subprocess.PIPE,
        cwd=Path(resources.__file__).parent.parent,
    )
    try:
        assert wait_for(
            lambda: any(
                b"sleep(300)" in Path(f"/proc/{p}/cmdline").read_bytes()
                for p in processes_with(token)
                if p != process.pid
            )
        )
        process.send_signal(number)
        process.communicate(timeout=60)
        if level is DockerSandbox and number == signal.SIGKILL:
            assert containers(process.pid), "nobody was there to remove it"
            DockerSandbox()  # the next start does
        assert wait_for(lambda: processes_with(token) == [])
        if level is DockerSandbox:
            assert containers(process.pid) == []
    finally:
        process.kill()


@pytest.mark.parametrize("level", LEVELS)
def test_a_mount_that_cannot_work_is_refused_first(level: Level, tmp_path: Path) -> None:
    sandbox = level()
    closed = tmp_path / "closed"
    closed.touch(0o600)
    for source, target, writable in (
        (tmp_path / "missing", "/job/x", False),
        (tmp_path, "/out/folder", True),
        (tmp_path, "/etc", False),
        (tmp_path, "/job/../etc", False),
        *([(closed, "/job/closed", False)] if os.geteuid() == 0 else []),
    ):
        with pytest.raises(SandboxFault, match=r"\A[^\n]+\Z"):
            sandbox.execute([Mount(source, target, writable)], SMALL, 1000)


@pytest.mark.docker
def test_a_container_that_somebody_removes_is_our_fault(run: Callable[..., Run]) -> None:
    def remove() -> None:
        wait_for(containers)
        time.sleep(0.5)
        with engine.connect() as client:
            for name in containers():
                client.containers.get(name).remove(force=True)

    thread = threading.Thread(target=remove)
    thread.start()
    with pytest.raises(SandboxFault, match="removed"):
        run(DockerSandbox, "import time; time.sleep(60)")
    thread.join()


@pytest.mark.docker
def test_an_engine_that_dies_is_our_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not address.startswith("unix://"):
        pytest.skip("the engine is not a local socket")
    proxy = socket.socket(socket.AF_UNIX)
    proxy.bind(str(tmp_path / "proxy"))
    proxy.listen(64)
    alive, connections = threading.Event(), list[socket.socket]()
    alive.set()

    def copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
        except OSError:
            pass

    def serve() -> None:
        while True:
            client, _ = proxy.accept()
            if not alive.is_set():
                client.close()
                return
            engine_side = socket.socket(socket.AF_UNIX)
            engine_side.connect(address.removeprefix("unix://"))
            connections.extend((client, engine_side))
            for pair in ((client, engine_side), (engine_side, client)):
                threading.Thread(target=copy, args=pair, daemon=True).start()

    def die() -> None:
        direct = docker.DockerClient(base_url=address)
        wait_for(lambda: _running and direct.containers.list(filters={"name": next(iter(_running))}))
        direct.close()
        time.sleep(0.5)
        alive.clear()
        (tmp_path / "proxy").unlink()
        for connection in connections:
            connection.shutdown(socket.SHUT_RDWR)

    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"unix://{tmp_path / 'proxy'}")
        threading.Thread(target=serve, daemon=True).start()
        sandbox = DockerSandbox(command=("-P", "-c", "import time; time.sleep(60)"))
        killer = threading.Thread(target=die)
        killer.start()
        with pytest.raises(SandboxFault, match=r"\Athe Docker engine failed[^\n]+\Z"):
            sandbox.execute([], SMALL, 1000)
        killer.join()
    assert containers(), "nobody could remove it"
    DockerSandbox()  # the next start does
    assert containers() == []


@pytest.mark.docker
def test_a_missing_image_says_how_to_build_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.sandboxes.image.image_tag", lambda: "harness-sandbox:never")
    with pytest.raises(ImageFault, match="harness sandbox build"):
        DockerSandbox().execute([], SMALL, 1000)
    with pytest.raises(ImageFault, match="harness sandbox build"):
        open_sandbox("auto")
    assert containers() == []


@pytest.mark.docker
def test_docker_is_what_auto_means_where_it_answers() -> None:
    assert open_sandbox("auto").isolation == "docker"
    with pytest.raises(SandboxFault, match="no runtime 'nowhere'"):
        open_sandbox("docker", "nowhere")


@pytest.mark.docker
def test_the_engine_keeps_what_it_accepts() -> None:
    assert "all limits read back" in docker_level.check()


def test_without_an_engine_auto_is_bubblewrap_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    sandbox = open_sandbox("auto")
    assert sandbox.isolation == "bubblewrap"
    assert BubblewrapSandbox.lacks in capsys.readouterr().err
    with pytest.raises(SandboxFault, match=r"\Ano Docker engine answers[^\n]+\Z"):
        open_sandbox("docker")


def test_where_neither_works_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.setattr("harness.sandboxes.bubblewrap._find_bwrap", lambda: Path("/bin/false"))
    with pytest.raises(SandboxFault, match=r"\Ano Docker engine answers[^\n]+\Z"):
        open_sandbox("auto")


def test_a_library_for_filters_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    with pytest.raises(SandboxFault, match="libseccomp"):
        bubblewrap_level.check()


@pytest.mark.parametrize(("name", "runtime"), [("podman", None), ("bubblewrap", "runsc")])
def test_an_unknown_level_is_wrong_usage(name: str, runtime: str | None) -> None:
    with pytest.raises(UsageError):
        open_sandbox(name, runtime)
