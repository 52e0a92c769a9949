"""Pruners by name: reference pruners, files, and archived candidates. They are read as bytes, never imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness import archive
from harness.errors import InputFault, UsageError
from harness.names import key, suggestion
from harness.records import SOURCE_BYTES, Pruner
from harness.resources import is_file, resource
from harness.status import Status


def find(name: str, roots: Sequence[Path] | None = None) -> Pruner:
    """A reference's name, a path to a .py or to an archived attempt, or an archived candidate's id.

    Args:
        name: as a person typed it.
        roots: archives to look in; `./generated`, then the bundled one by default.

    Raises:
        UsageError: there is no such pruner; the message names near ones.
        InputFault: it cannot be read, or an archived file was changed.
    """
    path = Path(name)
    if path.suffix == ".py":
        return _file(path, name)
    if is_file(path / "manifest.json"):
        return archive.load(path)
    for stem, file in reference_files().items():
        if key(stem) == key(name):
            return replace(_file(file, stem), name=stem)
    if archive.has(name, _roots(roots)):
        return archive.load(name, _roots(roots))
    near = suggestion(name, [*reference_files(), *archive.candidates(_roots(roots))])
    raise UsageError(f"no pruner {name[:120]!r}.{near} `harness pruners` lists them; a file's name ends in .py")


def references() -> list[str]:
    """The names of the reference pruners."""
    return list(reference_files())


def candidates(roots: Sequence[Path] | None = None) -> list[str]:
    """The ids of the archived candidates, in `roots` or where `find` looks."""
    return list(archive.candidates(_roots(roots)))


def candidate_folders(roots: Sequence[Path] | None = None) -> dict[str, Path]:
    """The folder of each archived candidate by its id, as `candidates` lists them."""
    return archive.candidates(_roots(roots))


def archived(name: str, roots: Sequence[Path] | None = None) -> Path:
    """The folder of the archived candidate with this id, in `roots` or where `find` looks.

    Raises:
        UsageError: there is none.
    """
    folder = archive.candidates(_roots(roots)).get(name)
    if folder is None:
        raise UsageError(f"no archived candidate {name[:120]!r}: `harness pruners` lists them")
    return folder


def reference_files() -> dict[str, Path]:
    """The file of each reference pruner by its name."""
    files = resource("reference_pruners").glob("[a-z]*.py")
    return {file.stem: file for file in sorted(files)}


def _roots(roots: Sequence[Path] | None) -> Sequence[Path]:
    return roots if roots is not None else (Path("generated"), resource("generated"))


def _file(path: Path, name: str) -> Pruner:
    if not is_file(path):
        raise UsageError(f"no file {name[:200]!r}: check the path")
    if path.name == "pruner.py" and is_file(path.parent / "manifest.json"):
        return replace(archive.load(path.parent), name=name)
    try:
        with path.open("rb") as file:
            source = file.read(SOURCE_BYTES + 1)
    except OSError as error:
        raise InputFault(f"cannot read {name[:200]}: {error.strerror or error}") from None
    return of_source(name, source, path)


def of_source(name: str, source: bytes, path: Path | None = None) -> Pruner:
    """A person's pruner with this code; without it where it is too large, or no text."""
    if len(source) > SOURCE_BYTES:
        return _rejected(path, name, f"the file is larger than {SOURCE_BYTES} bytes")
    try:
        source.decode()
    except UnicodeDecodeError as error:
        return _rejected(path, name, f"the file is not UTF-8 (byte {error.start})")
    return Pruner(name, "human", source, path)


def _rejected(path: Path | None, name: str, message: str) -> Pruner:
    return Pruner(name, "human", None, path, status=Status.REJECTED_SOURCE, message=message)
