"""The pruners in a pack: their code as it was run, from the bytes that were verified; no file of this machine is used.

Names and results in a pack are a stranger's. Its results say which SHA-256 the code of each pruner has, and the code is
the member that has it, whatever it is called.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256

from harness import archive, pruners
from harness.errors import InputFault, StorageFault, UsageError
from harness.pack import Pack, is_name
from harness.records import SOURCE_BYTES, Pruner
from harness.status import Status
from harness.store import Cell


def find(pack: Pack, name: str, digest: str | None) -> Pruner:
    """The pruner of a pack's results with this name, whose code has the SHA-256 `digest`; None: there was no code.

    Raises:
        StorageFault: the pack does not hold that code.
    """
    if files := attempt_files(pack, name):
        try:
            pruner = replace(archive.opened(files, f"generated/{name}"), name=name)
        except InputFault as fault:
            raise StorageFault(f"the pack's {fault}") from fault
    elif digest is None:
        pruner = Pruner(name, "human", None, status=Status.REJECTED_SOURCE, message="the pack holds no code of it")
    else:
        pruner = pruners.of_source(name, content(pack, digest) or b"")
    if digest_of(pruner) != digest or len(pruner.source or b"") > SOURCE_BYTES + 1:  # an archive ends it with a newline
        raise StorageFault(
            f"the pack does not hold the code of {name[:120]!r} that was run: have the study packed again"
        )
    return pruner


def attempt_files(pack: Pack, name: str) -> dict[str, bytes]:
    """The files of an archived attempt by name; none where the pack has no attempt with this id."""
    found = {file: pack.members.get(f"generated/{name}/{file}") for file in archive.MEMBERS}
    return {file: member for file, member in found.items() if member is not None}


def content(pack: Pack, digest: str | None) -> bytes | None:
    """The member with this SHA-256; None where there is none."""
    member = next((name for name, facts in pack.manifest["members"].items() if facts["sha256"] == digest), None)
    return None if member is None else pack.members[member]


def others_here(cells: Iterable[Cell]) -> list[str]:
    """Pruners of a pack of which this folder, or this harness, has one of the same name with other code."""
    digests = {cell.pruner: cell.source_sha256 for cell in cells if is_name(cell.pruner)}
    others = []
    for name, digest in digests.items():
        try:
            here = pruners.find(name)
        except (UsageError, InputFault):  # nothing of that name
            continue
        if digest_of(here) != digest:
            others.append(name)
    return others


def digest_of(pruner: Pruner) -> str | None:
    """SHA-256 of a pruner's code, as a plan has it; None where there is none to run."""
    return None if pruner.source is None else sha256(pruner.source).hexdigest()
