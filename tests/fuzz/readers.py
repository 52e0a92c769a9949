"""What must hold whatever a reader is given. `tools/fuzz.py` and the tests beside this file ask the same functions.

A check takes any bytes and raises where a promise is broken: an exception that the reader does not document, more than
one line of words, a text that cannot be written down, or a result that is not what stands in the bytes.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from harness import answers, archive, pack, study
from harness.errors import InputFault, StorageFault, UsageError
from harness.records import SOURCE_BYTES, Execution, Limits, Pruner, Sparsity
from harness.resources import resource
from harness.stages import sandbox_run
from harness.status import Status
from sandbox.layout import Layout
from sandbox.task import NOTE_CHARACTERS, NOTES
from tests.fuzz import weights

CPU_SECONDS = 20
"""For any answer; the worst known ones take two, six on a busy machine."""
LINE_CHARACTERS = 1500
CORPUS = Path(__file__).parent.parent / "completions"

_EXECUTIONS = [
    Execution(code, signal, timed_out, out_of_memory, wall_seconds=2.0)
    for code, signal, timed_out, out_of_memory in (
        (0, None, False, False),
        (1, None, False, False),
        (0, None, False, True),
        (137, None, False, True),
        (None, 25, False, False),
        (None, 11, False, False),
        (None, 64, False, False),
        (None, None, True, False),
    )
]


class Reader(NamedTuple):
    """A check of one reader, and inputs to begin with."""

    check: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


def check_report(data: bytes) -> None:
    """The first byte chooses how the run ended, the rest is the worker's report."""
    choice, raw = data[0] if data else 0, data[1:]
    layout = Layout(weights.LAYERS)
    output, report = os.memfd_create("output"), os.memfd_create("report")
    try:
        os.pwrite(report, raw, 0)
        if choice < 128:
            os.pwrite(output, b"PRUNED01", layout.total_bytes - 8)
        execution = _EXECUTIONS[choice % len(_EXECUTIONS)]
        run = sandbox_run._judged(execution, Limits(), layout, output, report)
    finally:
        os.close(output)
        os.close(report)
    ended_well = execution.exit_code == 0 and choice < 128
    assert (run.status is None) == ended_well
    assert (run.failure is None) == ended_well
    assert run.uniform in (True, False)
    if run.prune_seconds is not None:
        assert math.isfinite(run.prune_seconds)
        assert 0 <= run.prune_seconds <= execution.wall_seconds
    assert len(run.notes) <= NOTES
    for note in run.notes:
        _writable(note, NOTE_CHARACTERS)
    if run.failure is not None:
        _writable(run.failure.type, 200)
        _writable(run.failure.message, 2000)
        _writable(run.failure.traceback or "", 8000)
        assert run.failure.line is None or 0 < run.failure.line < 1 << 31


def check_answer(data: bytes) -> None:
    """The first byte says whether the answer is truncated, the rest is the text; other bytes become lone surrogates."""
    text = data[1:].decode("utf-8", "surrogateescape")
    started = time.process_time()
    source, status, message = answers.read(text, truncated=data[:1] > b"\x7f")
    assert time.process_time() - started < CPU_SECONDS
    if source is None:
        assert status in (Status.NO_CODE, Status.TRUNCATED, Status.REFUSED, Status.REJECTED_SOURCE)
        assert message
        return
    assert (status, message) == (None, None)
    assert source.endswith("\n")
    assert len(source.encode()) <= SOURCE_BYTES + 1
    lines = iter(_lines(text))
    for line in filter(None, map(str.strip, _lines(source))):  # in order, whatever indents and marks stood before
        assert any(line in other for other in lines), line


def check_study(data: bytes) -> None:
    """A study file of any text."""
    try:
        found = study.parse(data.decode("utf-8", "surrogateescape"), "a.toml")
    except UsageError as error:
        _one_line(error)
        return
    assert [Sparsity.parse(label).label for label in found.sparsities] == found.sparsities
    _writable(json.dumps(found.settings, ensure_ascii=False, allow_nan=False))
    _writable(found.name, 64)


def check_manifest(data: bytes) -> None:
    """The manifest of an attempt whose other files are as they should be."""
    folder = _attempt()
    (folder / "manifest.json").write_bytes(data)
    try:
        found = archive.load(folder)
    except (InputFault, UsageError) as error:
        _one_line(error)
        return
    assert isinstance(found, Pruner)
    assert (found.source is None) == (found.status is not None)
    for text in (found.name, found.idea, found.model, found.template, found.message):
        _writable(text or "")


def check_pack(data: bytes) -> None:
    """A file of any bytes: refused in one line, or exactly what would be packed."""
    path = _folder() / "any.zip"
    path.write_bytes(data)
    try:
        found = pack.verify(path)
    except StorageFault as error:
        _one_line(error)
        return
    assert pack.build(found.members) == data
    assert all(pack.is_name(name) for name in found.members)


def check_pack_manifest(data: bytes) -> None:
    """A well-formed zip whose manifest is of any bytes."""
    check_pack(pack.build({pack.MANIFEST: data, pack.RESULTS: b"x", "a/b": b"y"}))


def _seed_reports() -> list[bytes]:
    reports = [
        {"kind": "RUNTIME_ERROR", "type": "ValueError", "message": "no", "line": 3, "traceback": "line 3\n"},
        {"prune_seconds": 0.5, "uniform": False, "notes": ["a", "b\ud800"]},
        {"kind": ["NA"], "notes": {"a": 1}, "line": True, "prune_seconds": 1},
    ]
    return [bytes([choice]) + json.dumps(report).encode() for report in reports for choice in (0, 1, 129, 135)]


def _seed_answers() -> list[bytes]:
    return [bytes([choice]) + file.read_bytes() for file in sorted(CORPUS.glob("*.txt")) for choice in (0, 128)]


def _seed_studies() -> list[bytes]:
    return [file.read_bytes() for file in sorted(resource("studies").glob("*.toml"))]


def _seed_manifests() -> list[bytes]:
    manifest = json.loads(_whole_manifest())
    changes = [{}, {"status": "NO_CODE", "message": "none"}, {"id": 1}, {"files": {"prompt.md": "0"}}]
    return [json.dumps(manifest | change).encode() for change in changes]


def _seed_packs() -> list[bytes]:
    members = {pack.RESULTS: b"x", "a/b": b"y"}
    return [pack.build(members | {pack.MANIFEST: manifest}) for manifest in _seed_pack_manifests()]


def _seed_pack_manifests() -> list[bytes]:
    listed = pack.digests({pack.RESULTS: b"x", "a/b": b"y"})
    manifests = [{"format": 1, "members": listed, "study": "tiny"}, {"format": 2, "members": {}}, {"members": []}]
    return [json.dumps(manifest).encode() for manifest in manifests]


READERS = {
    "output": Reader(weights.check, weights.seeds),
    "report": Reader(check_report, _seed_reports),
    "answer": Reader(check_answer, _seed_answers),
    "study": Reader(check_study, _seed_studies),
    "manifest": Reader(check_manifest, _seed_manifests),
    "pack": Reader(check_pack, _seed_packs),
    "pack-manifest": Reader(check_pack_manifest, _seed_pack_manifests),
}


def _lines(text: str) -> list[str]:
    """As Markdown sees them, which has no NUL."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd").split("\n")


def _one_line(error: Exception) -> None:
    _writable(str(error), LINE_CHARACTERS)
    assert len(str(error).splitlines()) == 1, error


def _writable(text: str, limit: int | None = None) -> None:
    text.encode()
    assert limit is None or len(text) <= limit


@cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="fuzz-")


def _folder() -> Path:
    """Removed when the program ends."""
    return Path(_kept().name)


@cache
def _attempt() -> Path:
    """A folder of an attempt, for the manifests that are written into it."""
    folder = _folder() / "sample" / "l1-norm-pruning" / "01"
    folder.mkdir(parents=True)
    for name in ("prompt.md", "completion.json", "pruner.py"):
        (folder / name).write_bytes((_archived() / name).read_bytes())
    return folder


def _whole_manifest() -> bytes:
    return (_archived() / "manifest.json").read_bytes()


def _archived() -> Path:
    return resource("generated/sample") / "l1-norm-pruning" / "01"
