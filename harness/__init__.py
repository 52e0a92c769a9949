"""Benchmark of pruning algorithms that language models write.

Importing this package loads neither torch nor transformers nor pandas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from harness.frames import Frames

__version__ = "0.1.0"


def load(study: str | Path) -> Frames:
    """The results of a study as tidy pandas frames: `scores`, `windows`, `protocols`, `faults`, `plan`.

    `study` is its name, its TOML file, its results folder, its results file or a pack; docs/data.md has the columns.

    Raises:
        UsageError: there are no results.
        StorageFault: they cannot be read.
    """
    from harness import frames  # noqa: PLC0415 - it loads pandas

    return frames.load(study)
