"""A Docker engine of one's own beside the machine's, to be killed: as root, from dockerd, with one image in it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from docker import DockerClient
from docker.errors import DockerException

from benchmarks.linked_image import link

FLAGS = ("--iptables=false", "--bridge=none", "--storage-driver=overlay2")
"""Those of .ci/run: no network of any kind, so that it leaves other engines' alone."""
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_CHILD_SECONDS = 5.0


def lacks() -> str | None:
    """Why no engine can be started here; None where one can."""
    if os.geteuid():
        return "an engine of its own needs root"
    return None if shutil.which("dockerd") else "there is no dockerd"


class OwnEngine:
    """An engine whose every file is in `folder`, with one image of another engine; a context manager."""

    def __init__(self, folder: Path, image: str, source: DockerClient) -> None:
        """Start it; the image is linked where the other engine's files are at hand, else loaded, which takes a minute.

        Raises:
            SystemExit: it does not start.
        """
        self.address = f"unix://{folder / 'docker.sock'}"
        self._folder = folder
        self._daemon: subprocess.Popen[bytes] | None = None
        try:
            linked = link(source, image, folder / "data")
            self.start()
            if not linked:
                with self.client() as client:
                    client.images.load(source.images.get(image).save(named=image))  # type: ignore[arg-type]
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> OwnEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @contextlib.contextmanager
    def client(self) -> Iterator[DockerClient]:
        """A connection."""
        client = DockerClient(base_url=self.address)
        try:
            yield client
        finally:
            client.close()

    def start(self) -> None:
        """Start it, again where it fails beside what a killed one left, and wait until it answers."""
        until = time.monotonic() + _START_SECONDS
        while not self._answers():
            if time.monotonic() > until:
                raise SystemExit(f"dockerd does not start: see {self._folder / 'dockerd.log'}")
            if self._daemon is None or self._daemon.poll() is not None:
                folders = [f"--{name}={self._folder / path}" for name, path in _PLACES.items()]
                with (self._folder / "dockerd.log").open("ab") as log:
                    command = ["dockerd", f"--host={self.address}", *folders, *FLAGS]
                    self._daemon = subprocess.Popen(command, stdout=log, stderr=log)
            time.sleep(0.02)

    def kill(self, *, containerd: bool) -> None:
        """SIGKILL, now; `containerd` kills the engine's child that looks after the containers in the same moment.

        The kernel tells that child of its parent's death anyway, and it ends a little later.
        """
        if self._daemon is None:
            return
        below = _children(self._daemon.pid)
        self._daemon.kill()
        for pid in below if containerd else ():
            os.kill(pid, signal.SIGKILL)
        self._daemon.wait()
        until = time.monotonic() + _CHILD_SECONDS
        while any(_runs(pid) for pid in below) and time.monotonic() < until:
            time.sleep(0.005)
        if not any(_runs(pid) for pid in below):  # not yet reaped, it would pass for alive, and be waited for
            (self._folder / "exec/containerd/containerd.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        """End it and all that it started, and unmount what it leaves mounted."""
        if self._daemon is not None and self._daemon.poll() is None:
            self._daemon.terminate()
            try:
                self._daemon.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill(containerd=True)
        for pid in _processes_with(f"{self._folder}/"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if (place := line.split()[1]).startswith(f"{self._folder}/"):
                subprocess.run(["umount", "--lazy", place], check=False)  # noqa: S607 - of the system

    def _answers(self) -> bool:
        if self._daemon is None or self._daemon.poll() is not None:
            return False
        try:
            with self.client() as client:
                return bool(client.ping())
        except DockerException:
            return False


_PLACES = {"data-root": "data", "exec-root": "exec", "pidfile": "pid"}


def _children(pid: int) -> list[int]:
    """The processes that were started by any thread of a process."""
    found = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has ended meanwhile
            found += [int(word) for word in file.read_text().split()]
    return found


def _runs(pid: int) -> bool:
    """Whether a process is there, and more than what its parent has not reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _processes_with(words: str) -> list[int]:
    """Shims and their like: programs of the engine whose command line names `words`."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            program, _, arguments = file.read_bytes().decode(errors="replace").partition("\0")
            if re.search(r"(^|/)(containerd|runc|dockerd)[^/]*$", program) and words in arguments:
                found.append(int(file.parent.name))
    return found
