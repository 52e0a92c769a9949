"""The files of one sandbox run: made empty and filled in place, so that a container may wait for them to be filled."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from harness.records import Mount
from harness.resources import cache_folder
from harness.targets import Target
from sandbox.layout import Layout
from sandbox.waiting import GO

INPUTS = ("job.json", "pruner.py", "calibration.npy")
"""What `fill` writes."""

_GO = GO.rpartition("/")[2]
_OUTPUTS = ("weights", "report.json")
_LEFTOVER_SECONDS = 86_400


class RunFolder:
    """A folder that nobody else may enter; what of it is shown inside is mounted file by file.

    Args:
        target: the model, shown file by file.
        known: more files by their name beside the job.
    """

    def __init__(self, target: Target, known: Mapping[str, Path]) -> None:
        self.layout = Layout(target.layers)
        self._target, self._known = target, dict(known)
        runs = cache_folder() / "runs"
        runs.mkdir(exist_ok=True)
        _remove_leftovers(runs)
        self._folder = Path(tempfile.mkdtemp(dir=runs))
        self._descriptors: dict[str, int] = {}
        try:
            self._descriptors = {name: _made(self._folder / name, 0o444) for name in (*INPUTS, _GO)}
            self._descriptors |= {name: _made(self._folder / name, 0o666) for name in _OUTPUTS}
            os.posix_fallocate(self.output, 0, self.layout.total_bytes)
            self.mounts = [Mount(self._folder / name, f"/job/{name}") for name in (*INPUTS, _GO)]
            self.mounts += [Mount(file.resolve(), f"/job/{name}") for name, file in known.items()]
            self.mounts += [self._model_file(file) for file in target.model_files]
            self.mounts += [Mount(self._folder / name, f"/out/{name}", writable=True) for name in _OUTPUTS]
        except BaseException:
            self.remove()
            raise

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.stat().st_size for file in self._folder.iterdir())

    @property
    def output(self) -> int:
        """Descriptor of the file of `sandbox.layout`, opened before anything could run."""
        return self._descriptors["weights"]

    @property
    def report(self) -> int:
        """Descriptor of the worker's report."""
        return self._descriptors["report.json"]

    def fits(self, target: Target, known: Mapping[str, Path]) -> bool:
        """Whether these are the files of a run on `target` with `known`."""
        return target is self._target and known == self._known

    def fill(self, contents: Mapping[str, bytes]) -> None:
        """Write what the run is given, by name beside the job; its program starts when all of it is there."""
        for name in INPUTS:
            self._write(name, contents[name])
        self._write(_GO, b"1")

    def _write(self, name: str, content: bytes) -> None:
        with open(self._descriptors[name], "wb", closefd=False) as file:
            file.write(content)

    def remove(self) -> None:
        """Close and remove everything."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])
        shutil.rmtree(self._folder, ignore_errors=True)

    def _model_file(self, file: Path) -> Mount:
        readable = file
        if not file.stat().st_mode & 0o004:  # the sandbox's user could not read it
            readable = self._folder / f"model-{file.name}"
            shutil.copyfile(file, readable)
            readable.chmod(0o444)
        return Mount(readable.resolve(), f"/job/model/{file.name}")


def _made(path: Path, mode: int) -> int:
    """An empty file behind a descriptor that the host keeps; its folder lets nobody else in."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, mode)
    return descriptor


def _remove_leftovers(runs: Path) -> None:
    """Remove what a harness that was killed left here a day ago or earlier."""
    for folder in runs.iterdir():
        try:
            if time.time() - folder.stat().st_mtime > _LEFTOVER_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
        except FileNotFoundError:  # another process was quicker
            continue
