"""The pack: a study in one zip file, checked to the last byte before anything of it is used.

There is one way to lay out given members, so a pack is checked by laying them out again: what differs anywhere, in a
member, in a name, in a time or between them, is found. Members are stored and not compressed, so that the bytes do not
depend on a compressor and no member can be larger than the file.
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness import atomic
from harness.console import plain
from harness.errors import StorageFault, UsageError
from harness.resources import cache_folder, is_file
from harness.snapshot import check_plain
from harness.zip_table import most_entries

FORMAT = 1
"""Of the manifest."""
MANIFEST = "manifest.json"
RESULTS = "results.sqlite"
MAX_BYTES = 512 << 20
"""The largest pack; it is held in memory twice while it is checked."""
MAX_MEMBERS = 50_000

_MANIFEST_BYTES, _MANIFEST_VALUES = 1 << 10, 16
"""Of a manifest, for each member: its digest, its size, and its name twice, once beside its pruner's."""
_MANIFEST_ROOM = 64
"""As many members more, for what a manifest says of the study."""
_NAME = re.compile(r"(?=.{1,255}$)[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*", re.ASCII)
_MODE = stat.S_IFREG | 0o644
_TIME = (1980, 1, 1, 0, 0, 0)
_UNREADABLE = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, struct.error, EOFError, OSError),
    *(ValueError, RuntimeError, LookupError, ArithmeticError),  # what zipfile lets through on damaged files
)


@dataclass(frozen=True)
class Pack:
    """A pack that was found whole."""

    sha256: str
    """Of the file."""
    manifest: Mapping[str, Any]
    members: Mapping[str, bytes]
    """Contents by name, the manifest included."""


def is_name(name: str) -> bool:
    """Whether a member may have this name: a relative path of plain ASCII without `..`, links or hidden parts."""
    return _NAME.fullmatch(name) is not None


def digests(members: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """What the manifest says of the other members: for each name its `sha256` and `bytes`."""
    return {
        name: {"sha256": sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in sorted(members.items())
        if name != MANIFEST
    }


def build(members: Mapping[str, bytes]) -> bytes:
    """The zip of these members: sorted names, one time, nothing compressed, regular files that all may read."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        for name, content in sorted(members.items()):
            info = zipfile.ZipInfo(name, _TIME)
            info.create_system = 3  # Unix, wherever this runs
            info.external_attr = _MODE << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def verify(path: Path) -> Pack:
    """Read a pack, and see that every byte of it is as it was packed.

    Raises:
        UsageError: there is no such file.
        StorageFault: it cannot be read, is damaged, or is no pack; the message names the member.
    """
    raw = _read(path)
    try:
        if most_entries(raw) > MAX_MEMBERS:
            raise _damaged(path, f"it holds more than {MAX_MEMBERS} members")
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            members = _members(archive, path, len(raw))
            starts = {info.header_offset: info.filename for info in archive.infolist()}
            directory = archive.start_dir
    except _UNREADABLE as error:
        raise _damaged(path, f"it is no zip file, or its table of contents is damaged ({error})") from error
    manifest = _manifest(path, members)
    listed, found = manifest["members"], digests(members)
    for name in sorted(listed.keys() | found.keys()):
        if listed.get(name) != found.get(name):
            how = "is not in the manifest" if name not in listed else "is changed" if name in found else "is missing"
            raise _damaged(path, f"member {name} {how}")
    rebuilt = build(members)
    if rebuilt != raw:
        offset = _first_difference(rebuilt, raw)
        before = [start for start in starts if start <= offset]
        where = f"member {starts[max(before)]}" if before and offset < directory else "the table of contents"
        raise _damaged(path, f"{where} is not laid out as `harness pack` does it (byte {offset})")
    return Pack(sha256(raw).hexdigest(), manifest, members)


def results(pack: Pack) -> Path:
    """The results file of a pack, taken out of it into the user's cache; written there once.

    Raises:
        StorageFault: the results are no plain SQLite file, or the cache cannot be written.
    """
    file = cache_folder() / "packs" / pack.sha256 / RESULTS
    content = pack.members[RESULTS]
    if not is_file(file) or file.read_bytes() != content:
        atomic.write(file, content)
    check_plain(file)
    return file


def fits(manifest: bytes, members: int) -> bool:
    """Whether a manifest is no larger than that of a pack with so many members can be; asked before it is parsed.

    JSON takes twenty times its size in memory if it is made of nothing but brackets, so that these count too.
    """
    values = sum(manifest.count(mark) for mark in (b",", b"[", b"{"))
    many = members + _MANIFEST_ROOM
    return len(manifest) <= _MANIFEST_BYTES * many and values <= _MANIFEST_VALUES * many


def _read(path: Path) -> bytes:
    if not is_file(path):
        raise UsageError(f"no pack {str(path)[:200]!r}: give a file that `harness pack` wrote")
    try:
        with path.open("rb") as file:
            size = min(os.fstat(file.fileno()).st_size, MAX_BYTES)  # as much memory as is asked for is taken at once
            raw = file.read(size + 1)
    except OSError as error:
        raise StorageFault(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    if len(raw) > MAX_BYTES:
        raise StorageFault(f"{path}: larger than {MAX_BYTES >> 20} MiB, so it is no pack of this harness")
    return raw


def _members(archive: zipfile.ZipFile, path: Path, size: int) -> dict[str, bytes]:
    """The contents by name; refuses whatever no pack holds before it is read."""
    infos = archive.infolist()
    if sum(info.file_size for info in infos) > size:
        raise _damaged(path, "its members claim to be larger than the file")
    members: dict[str, bytes] = {}
    for info in infos:
        name = info.filename
        if not is_name(name):
            raise _damaged(path, f"member {name!r} has a name that no pack holds")
        if name in members:
            raise _damaged(path, f"member {name} stands in it twice")
        if info.external_attr >> 16 != _MODE:
            raise _damaged(path, f"member {name} is a link, a folder or no plain file")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise _damaged(path, f"member {name} is compressed")
        try:
            members[name] = archive.read(info)
        except _UNREADABLE as error:
            raise _damaged(path, f"member {name} is changed ({error})") from error
    return members


def _manifest(path: Path, members: Mapping[str, bytes]) -> dict[str, Any]:
    if MANIFEST not in members:
        raise _damaged(path, f"member {MANIFEST} is missing")
    if not fits(members[MANIFEST], len(members)):
        raise _damaged(path, f"member {MANIFEST} is no JSON of a pack: it is too large for {len(members)} members")
    try:
        manifest = json.loads(members[MANIFEST])
    except (ValueError, RecursionError):
        raise _damaged(path, f"member {MANIFEST} is no JSON") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("members"), dict) or RESULTS not in members:
        raise _damaged(path, f"it is a zip file, but no pack: {MANIFEST} lists no members, or there is no {RESULTS}")
    if manifest.get("format") != FORMAT:
        form = " ".join(plain(str(manifest.get("format")), 20).split())
        raise StorageFault(
            f"{path}: a pack of format {form}, this harness reads format {FORMAT}: use the harness that wrote it"
        )
    return manifest


def _first_difference(one: bytes, other: bytes) -> int:
    """Where two texts that differ do so first, by halves: a loop over all bytes of a large pack takes minutes."""
    begin, end = 0, max(len(one), len(other))
    while end - begin > 1:
        middle = (begin + end) // 2
        begin, end = (middle, end) if one[begin:middle] == other[begin:middle] else (begin, middle)
    return begin


def _damaged(path: Path, what: str) -> StorageFault:
    line = " ".join(plain(what, 300).split())
    return StorageFault(f"{path}: {line}; get the file again, or have the study packed again")
