"""Study -> pack: the results, the study file, the code of every pruner, the frames as CSV, and a dataset card."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness import __version__, archive, atomic, frames, pack, pruners
from harness.csv_text import to_csv
from harness.dataset_card import dataset_card
from harness.errors import InputFault, StorageFault, UsageError
from harness.names import slug
from harness.planning import resolve
from harness.records import Pruner
from harness.snapshot import snapshot
from harness.store import Cell, Plan, Store
from harness.study import Study, parse

_OVERHEAD = 1 << 10
"""Bytes that no member takes more of besides its content."""


@dataclass(frozen=True)
class Packed:
    """A pack that was written."""

    path: Path
    sha256: str
    study: str
    counts: Mapping[str, int]
    """`cells`, `scores`, `faults`, `pruners`."""


def write(results: Path, into: Path | None = None, licence: str | None = None) -> Packed:
    """Pack the study of a results file into a new file, by default `<study>.zip` in the current folder.

    The same results and pruners give the same bytes. A study that is running is packed as it is at one moment.

    Args:
        results: the results file.
        into: the file to make.
        licence: an identifier for the dataset card, as in `cc-by-4.0`; None where none was chosen.

    Raises:
        UsageError: `into` is there already, or a pruner's code is not what was run, or is gone.
        StorageFault: the results cannot be read, or the pack cannot be written.
        InputFault: a pruner cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="harness-pack-") as folder:
        copy = Path(folder, pack.RESULTS)
        copy.write_bytes(snapshot(results))
        with Store(copy, create=False) as store:
            plan = store.plan()
        if plan is None:
            raise StorageFault(f"{results}: holds no study; run `harness study run` with it first")
        study = parse(plan.text, f"{results}: its study file")  # whose name is a plain one, whoever made the results
        into = Path(f"{study.name}.zip") if into is None else into
        if into.exists() or into.is_symlink():
            raise UsageError(f"--into {into}: there is something already; give a new file, or remove it")
        members, manifest = _members(copy, plan, study, licence)
    too_large = sum(map(len, members.values())) > pack.MAX_BYTES - _OVERHEAD * len(members)
    too_many = len(members) > pack.MAX_MEMBERS or not pack.fits(members[pack.MANIFEST], len(members))
    if too_large or too_many:
        raise StorageFault(
            f"{study.name}: takes more than the {pack.MAX_BYTES >> 20} MiB or {pack.MAX_MEMBERS} files of a pack: pack"
            " studies with fewer pruners each"
        )
    content = pack.build(members)
    atomic.write(into, content)
    return Packed(into, sha256(content).hexdigest(), study.name, manifest["counts"])


def _members(results: Path, plan: Plan, study: Study, licence: str | None) -> tuple[dict[str, bytes], dict[str, Any]]:
    tables = frames.read(results)
    members = {pack.RESULTS: results.read_bytes(), "study.toml": plan.text.encode()}
    by_name: dict[str, dict[str, Any]] = {}
    for pruner in _pruners(plan, study):
        files = _files(pruner)
        members |= files
        digest = None if pruner.source is None else sha256(pruner.source).hexdigest()
        by_name[pruner.name] = {"author": pruner.author, "source_sha256": digest, "files": sorted(files)}
    for name, frame in tables.items():
        members[f"data/{name}.csv"] = to_csv(frame).encode()
    counts = {"cells": len(plan.cells), "scores": len(tables.scores), "faults": len(tables.faults)}
    counts["pruners"] = len(by_name)
    members["README.md"] = dataset_card(tables, counts, licence).encode()
    manifest = {
        "format": pack.FORMAT,
        "harness_version": __version__,
        "study": study.name,
        "counts": counts,
        "pruners": by_name,
        "members": pack.digests(members),
    }
    members[pack.MANIFEST] = (json.dumps(manifest, indent=2) + "\n").encode()
    return members, manifest


def _pruners(plan: Plan, study: Study) -> list[Pruner]:
    """The pruners of the plan, each with the very code that was planned."""
    known = resolve(study)
    planned: dict[str, Cell] = {cell.pruner: cell for cell in plan.cells}
    for name, cell in planned.items():
        if name not in known:
            raise UsageError(f"study {study.name!r}: its pruner {name!r} is gone; put it back where it was, then pack")
        source = known[name].source
        digest = None if source is None else sha256(source).hexdigest()
        if digest != cell.source_sha256:
            raise UsageError(
                f"study {study.name!r}: the code of {name!r} is not what was run (its SHA-256 is"
                f" {_short(digest)} and was {_short(cell.source_sha256)}): put it back as it was, then pack"
            )
    return [known[name] for name in planned]


def _short(digest: str | None) -> str:
    return "that of no code" if digest is None else digest[:12]


def _files(pruner: Pruner) -> dict[str, bytes]:
    """What a pack holds of a pruner: of an archived candidate its whole folder, else its one file if it has code."""
    if pruner.source is None and pruner.status is None:  # asked for and not answered yet
        return {}
    if pruner.author == "model":
        folder = pruner.path.parent if pruner.path else pruners.archived(pruner.name)
        files = {f"generated/{pruner.name}/{name}": content for name, content in archive.files(folder).items()}
    elif pruner.source is None:
        return {}
    elif pruner.name in pruners.references():
        files = {f"reference_pruners/{pruner.name}.py": pruner.source}
    else:
        digest = sha256(pruner.source).hexdigest()
        files = {f"pruners/{slug(Path(pruner.name).stem)}-{digest[:12]}.py": pruner.source}
    if wrong := [name for name in files if not pack.is_name(name)]:
        raise InputFault(f"{wrong[0]!r} cannot stand in a pack: give the candidate's folders plain names")
    return files
