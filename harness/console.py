"""What people see: progress with time left, notices, and text of candidates made harmless."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

_quiet = False


def set_quiet(quiet: bool) -> None:
    """No progress and no notices from now on; errors still show."""
    global _quiet  # noqa: PLW0603
    _quiet = quiet
    if quiet:
        os.environ["TQDM_DISABLE"] = "1"  # the bars of the libraries below


def notice(text: str) -> None:
    """One line on stderr, unless quiet."""
    if not _quiet:
        print(text, file=sys.stderr, flush=True)


def plain(text: str, limit: int = 2000) -> str:
    """`text` of a candidate as a terminal or a log may show it: no control, bidi or escape characters, bounded."""
    shortened = text if len(text) <= limit else text[:limit] + " […]"
    if shortened.isprintable():  # as nearly all are: nothing to look for, character by character
        return shortened
    return "".join(c if c == "\n" or unicodedata.category(c)[0] != "C" else "�" for c in shortened)


class Task:
    """One progress bar."""

    def __init__(self, progress: Progress | None, description: str, total: float | None) -> None:
        self._progress = progress
        self._id = progress.add_task(description, total=total) if progress else None

    def advance(self, steps: float = 1) -> None:
        """`steps` more are done."""
        if self._progress is not None and self._id is not None:
            self._progress.advance(self._id, steps)


_active: Progress | None = None


@contextmanager
def progress(description: str, total: float | None) -> Iterator[Task]:
    """A bar with the time left on stderr while the block runs; nested calls add lines to the same display."""
    global _active  # noqa: PLW0603
    if _quiet or not sys.stderr.isatty():
        yield Task(None, description, total)
        return
    if _active is not None:
        task = Task(_active, description, total)
        try:
            yield task
        finally:
            if task._id is not None:
                _active.remove_task(task._id)
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import, and not needed for `--help`
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn  # noqa: PLC0415

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as display:
        _active = display
        try:
            yield Task(display, description, total)
        finally:
            _active = None
