"""Where the results of a study are: found by its name, its file, its folder, or its pack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness import pack
from harness.errors import UsageError
from harness.pack import Pack
from harness.resources import is_file
from harness.study import load


@dataclass(frozen=True)
class Recorded:
    """The results of a study, and where the code of its pruners is."""

    path: Path
    """Of the results file."""
    pack: Pack | None = None
    """That the results and the code are in; None where the pruners are those of this folder and this harness."""


def recorded(name: str) -> Recorded:
    """The results of a study, by its name, its TOML file, its results folder, its results file or its pack.

    Raises:
        UsageError: there are no results.
        StorageFault: the pack is damaged, or its results cannot be taken out of it.
    """
    path, found = Path(name), None
    if path.suffix == ".toml":
        path = default_results(load(name).name)
    elif is_file(path / pack.RESULTS):
        path = path / pack.RESULTS
    elif path.suffix == ".zip":
        found = pack.verify(path)
        path = pack.results(found)
    elif path.suffix != ".sqlite":
        path = default_results(name)
    if not is_file(path):
        raise UsageError(f"no results at {path}: run `harness study run {name}` first, or give a results folder")
    return Recorded(path, found)


def results_file(name: str) -> Path:
    """The results file of `recorded`."""
    return recorded(name).path


def default_results(study_name: str) -> Path:
    """Where a study's results go unless told otherwise, under the current folder."""
    return Path("results") / study_name / pack.RESULTS
