"""The archive of attempts: `<model>/<idea>/<sample>/` with prompt.md, completion.json, pruner.py, manifest.json.

A folder appears complete or not at all, and its manifest holds the hashes of the other files: what was changed
afterwards is noticed when it is loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import __version__, console
from harness.errors import InputFault, StorageFault, UsageError
from harness.names import slug
from harness.records import Completion, Prompt, Pruner
from harness.resources import is_file, sandbox_package
from harness.status import Status

PROVENANCE = "answer of the model named here, by one request through the endpoint that completion.json names"

MANIFEST = "manifest.json"
_FILES = ("prompt.md", "completion.json", "pruner.py")
MEMBERS = (*_FILES, MANIFEST)
"""The names of the files of an attempt."""
_MANIFEST_BYTES = 1 << 20
_MESSAGE_CHARACTERS = 2000
_WITHOUT_CODE = (Status.NO_CODE, Status.TRUNCATED, Status.REFUSED, Status.REJECTED_SOURCE)
"""What an attempt without code can be; no archive says how a run ended."""

_ID = re.compile(r"[\w.-]+/[\w.-]+/\d{2,}", re.ASCII)


def archive(
    prompt: Prompt,
    completion: Completion,
    root: Path,
    *,
    source: str | None,
    status: Status | None = None,
    message: str | None = None,
    provenance: str = PROVENANCE,
    cost: Mapping[str, Any] | None = None,
    at: str | None = None,
) -> Pruner:
    """Keep one attempt in the next free folder `<root>/<model>/<idea>/<sample>`; safe beside other processes.

    Args:
        prompt: what was asked.
        completion: what was answered; request and response are kept as they are.
        root: the folder of the archive, mostly `generated`.
        source: the code of the answer; None where there is none.
        status: why there is no code.
        message: the same in words.
        provenance: where the answer comes from.
        cost: `usd`, and the date of the table of `prices`, where they are known.
        at: the id to keep it under, in the place of the next free one.

    Raises:
        StorageFault: it cannot be written, or there is something at `at`.
    """
    contents = {"prompt.md": prompt.text.encode(), "completion.json": _json(_exchange(completion))}
    if source is not None:
        contents["pruner.py"] = source.encode()
    manifest: dict[str, Any] = {
        "id": None,
        "model": completion.model,
        "resolved_model": completion.response.get("model"),
        "idea": {"slug": prompt.idea.slug, "title": prompt.idea.title, "number": prompt.idea.number},
        "sample": None,
        "status": status,
        "message": message and message[:_MESSAGE_CHARACTERS],
        "finish_reason": completion.finish_reason and completion.finish_reason[:200],
        "usage": _bounded(completion.response.get("usage")),
        "cost": cost and dict(cost),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        "template": prompt.template,
        "template_sha256": prompt.template_sha256,
        "interface_sha256": hashlib.sha256((sandbox_package() / "interface.py").read_bytes()).hexdigest(),
        "harness_version": __version__,
        "created": completion.created,
        "provenance": provenance,
    }
    parent = (root / at).parent if at else root / slug(completion.model) / prompt.idea.slug
    try:
        return load(_place(parent, contents, manifest, at and Path(at).name))
    except OSError as error:
        raise StorageFault(f"cannot archive in {parent}: {error.strerror or error}") from None


def check_writable(root: Path) -> None:
    """Fail before a request is paid for, not after it, when its answer could not be kept.

    Raises:
        StorageFault: `root` is no folder, or cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise StorageFault(f"cannot archive in {root}: {error.strerror or error}; give --generated DIR") from None


def _bounded(usage: object) -> object:
    """What an endpoint counted, if it is of a size that counts have; completion.json has it in any case."""
    try:
        return usage if len(_json(usage)) < 10_000 else None
    except (RecursionError, ValueError):
        return None


def _exchange(completion: Completion) -> dict[str, Any]:
    return {
        "request": completion.request,
        "response": completion.response,
        "latency_seconds": completion.latency_seconds,
        "created": completion.created,
    }


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _place(parent: Path, contents: dict[str, bytes], manifest: dict[str, Any], at: str | None) -> Path:
    """Write the files into a new folder, and rename it to `at` or to the next free number."""
    parent.mkdir(parents=True, exist_ok=True)
    hidden = parent / f".{secrets.token_hex(8)}.partial"
    hidden.mkdir()
    try:
        for name, content in contents.items():
            (hidden / name).write_bytes(content)
        number = 1 + max((int(p.name) for p in parent.iterdir() if p.name.isdecimal()), default=0)
        while True:
            folder = parent / (at or f"{number:02d}")
            names = {"id": "/".join(folder.parts[-3:]), "sample": folder.name}
            (hidden / MANIFEST).write_bytes(_json(manifest | names))
            if not folder.exists():
                try:
                    return hidden.rename(folder)
                except OSError:
                    if not folder.exists():
                        raise
            if at:
                raise StorageFault(f"{folder} is there already: another process archived it; run the command again")
            number += 1
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def load(name: str | Path, roots: Iterable[Path] = ()) -> Pruner:
    """The candidate with this id in the first of `roots` that has it, or in this folder; its files are verified.

    Raises:
        UsageError: there is none.
        InputFault: a file was changed, is missing or cannot be read.
    """
    folder = name if isinstance(name, Path) else _folder(name, roots)
    pruner = opened(_contents(folder), str(folder))
    if isinstance(name, str) and pruner.name != name:
        raise InputFault(f"{folder} was archived as {console.plain(pruner.name, 120)!r}: move it back")
    return pruner if pruner.source is None else replace(pruner, path=folder / "pruner.py")


def opened(contents: Mapping[str, bytes], where: str) -> Pruner:
    """The candidate of an attempt whose files are given by name, verified; it has no path.

    Args:
        contents: of the files of `MEMBERS` that there are.
        where: they are, for messages.

    Raises:
        InputFault: a file was changed or is missing.
    """
    manifest = manifest_of(contents.get(MANIFEST, b""), where)
    for file in _FILES:
        expected = manifest["files"].get(file)
        if (file in contents) != (expected is not None):
            how = "is missing" if expected else "is not in the manifest"
            raise InputFault(f"{where}/{file} {how}: generate it again")
        if expected is not None and hashlib.sha256(contents[file]).hexdigest() != expected:
            raise InputFault(f"{where}/{file} is not as it was archived: restore it, or generate it again")
    status = manifest["status"]
    return Pruner(
        name=manifest["id"],
        author="model",
        source=contents.get("pruner.py"),
        idea=manifest["idea"]["slug"],
        model=manifest["model"],
        template=manifest.get("template"),
        status=Status(status) if status is not None else None,
        message=manifest.get("message"),
    )


def files(folder: Path) -> dict[str, bytes]:
    """Everything of one attempt by its name in the folder, verified as `load` does.

    Raises:
        UsageError, InputFault: as `load`.
    """
    contents = _contents(folder)
    opened(contents, str(folder))
    return contents


def _contents(folder: Path) -> dict[str, bytes]:
    """The files of one attempt by name, read and not yet verified."""
    contents = {MANIFEST: _manifest_bytes(folder)}
    return contents | {name: _read(folder / name) for name in _FILES if (folder / name).exists()}


def _manifest_bytes(folder: Path) -> bytes:
    path = folder / MANIFEST
    if not path.is_file():
        raise UsageError(f"{folder} is no archived candidate: it has no {MANIFEST}")
    return _read(path, _MANIFEST_BYTES)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of one attempt.

    Raises:
        UsageError: the folder holds none.
        InputFault: it cannot be read, or is no manifest.
    """
    return manifest_of(_manifest_bytes(folder), str(folder))


def manifest_of(content: bytes, where: str) -> dict[str, Any]:
    """The manifest of an attempt from its bytes; `where` the attempt is, for messages.

    Raises:
        InputFault: it is no manifest.
    """
    path = f"{where}/{MANIFEST}"
    try:
        manifest = json.loads(content[:_MANIFEST_BYTES])
    except (ValueError, RecursionError):
        raise InputFault(f"{path} is not JSON: restore it, or generate the candidate again") from None
    if not _is_manifest(manifest):
        raise InputFault(f"{path} is no manifest of a candidate: restore it, or generate the candidate again")
    return dict(manifest)


def _is_manifest(value: Any) -> bool:
    """Whether `value` has what `load` uses of a manifest, in the right types."""
    if not isinstance(value, dict) or not isinstance(files := value.get("files"), dict):
        return False
    idea = value.get("idea")
    texts = [value.get("id"), value.get("model"), idea.get("slug") if isinstance(idea, dict) else None]
    return (
        all(isinstance(text, str) and _is_unicode(text) for text in texts)
        and _ID.fullmatch(value["id"]) is not None
        and isinstance(template := value.get("template"), str | None)
        and _is_unicode(template or "")
        and isinstance(message := value.get("message"), str | None)
        and _is_unicode(message or "")
        and len(message or "") <= _MESSAGE_CHARACTERS
        and value.get("status", "") in (None, *_WITHOUT_CODE)
        and all(name in _FILES and isinstance(digest, str) for name, digest in files.items())
        and ("pruner.py" in files) != (value["status"] is not None)
    )


def _is_unicode(text: str) -> bool:
    """Whether `text` can be written down: JSON may hold halves of surrogate pairs."""
    return text.encode(errors="replace").decode() == text


def candidates(roots: Iterable[Path]) -> dict[str, Path]:
    """The folder of each archived attempt by its id, in order; of two with one id, the first root's."""
    found: dict[str, Path] = {}
    for root in roots:
        folders = [manifest.parent for manifest in root.glob("*/*/*/manifest.json")]
        for folder in sorted(folders, key=lambda f: (f.parent, len(f.name), f.name)):
            name = "/".join(folder.parts[-3:])
            if _ID.fullmatch(name):
                found.setdefault(name, folder)
    return found


def has(name: str, roots: Iterable[Path]) -> bool:
    """Whether one of `roots` has an attempt with this id; without a look at the others, of which there may be many."""
    return _place_of(name, roots) is not None


def _folder(name: str, roots: Iterable[Path]) -> Path:
    folder = _place_of(name, roots)
    if folder is None:
        raise UsageError(f"no archived candidate {name[:120]!r}: `harness pruners` lists them")
    return folder


def _place_of(name: str, roots: Iterable[Path]) -> Path | None:
    if _ID.fullmatch(name) is None or {".", ".."} & set(name.split("/")):
        return None
    return next((root / name for root in roots if is_file(root / name / MANIFEST)), None)


def _read(path: Path, limit: int = 64 << 20) -> bytes:
    """At most `limit` bytes of a file of the archive."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO in a stranger's archive would wait for ever
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InputFault(f"{path} is no regular file: restore it, or generate the candidate again")
            return file.read(limit)
    except OSError as error:
        raise InputFault(f"cannot read {path}: {error.strerror or error}") from None
