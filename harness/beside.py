"""What of a report needs nothing else of it, done here or by a process beside this one: the figure, the longest table.

Either way the bytes are the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

import harness
from harness.csv_text import Column, csv_text
from harness.records import Score

_PROGRAM = "from harness.beside import serve; serve()"
_NEEDED = [field.name for field in fields(Score) if field.name not in ("error", "window_losses", "zeros")]
"""Of a score, for its figure."""
Arrays = Sequence[npt.NDArray[Any]]
Later = Callable[[], bytes]
"""Waits until a file's content is there."""


class Helper(Protocol):
    """Who does it."""

    def figure(self, scores: Sequence[Score], title: str) -> Later:
        """Begin `harness.stages.figure.draw`, as PNG."""
        ...

    def csv(self, headings: Sequence[str], columns: Sequence[Column]) -> Later:
        """Begin `harness.csv_text.csv_text`."""
        ...


class Here:
    """Does it when it is asked for."""

    def figure(self, scores: Sequence[Score], title: str) -> Later:
        """As `Helper`."""
        return lambda: _figure(scores, title)

    def csv(self, headings: Sequence[str], columns: Sequence[Column]) -> Later:
        """As `Helper`."""
        return lambda: csv_text(headings, columns).encode()


class Beside:
    """Has it done by a process that starts at once, and loads what it needs from then on; a context manager."""

    def __enter__(self) -> Beside:
        self._begun, self._done = 0, 0
        self._folder = TemporaryDirectory(prefix="harness-")
        paths = [str(Path(harness.__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, self._folder.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()
        with suppress(OSError):  # of a pipe to a process that has ended
            self._child.communicate()
        self._folder.cleanup()

    def figure(self, scores: Sequence[Score], title: str) -> Later:
        """As `Helper`."""
        rows = list(map(attrgetter(*_NEEDED), scores))
        return self._begin("figure", [rows, title], (), lambda: _figure(scores, title))

    def csv(self, headings: Sequence[str], columns: Sequence[Column]) -> Later:
        """As `Helper`."""
        question = [headings, [column.kinds for column in columns]]
        arrays = [column.values for column in columns]
        return self._begin("csv", question, arrays, Here().csv(headings, columns))

    def _begin(self, task: str, question: Any, arrays: Arrays, here: Later) -> Later:
        number = self._begun + 1
        file = Path(self._folder.name, f"{number}.npz")
        text = np.frombuffer(json.dumps([task, question]).encode(), np.uint8)
        assert self._child.stdin is not None
        try:
            np.savez(file, text, *arrays)
            self._child.stdin.write(b"\n")
            self._child.stdin.flush()
        except OSError:  # no room for the question, or nobody there to ask
            return here
        self._begun = number

        def later() -> bytes:
            assert self._child.stdout is not None
            while self._done < number and self._child.stdout.read(1):
                self._done += 1
            # whatever went wrong there is met here again, and said
            return file.with_suffix(".out").read_bytes() if self._done >= number else here()

        return later


def serve() -> None:
    """The process beside: a byte comes for each question, and one goes for each answer; both are files in a folder."""
    from harness import drawing
    from harness.stages import figure  # both while nothing is asked yet

    assert drawing and figure
    answered = os.dup(1)
    os.dup2(2, 1)  # what else is printed is no answer
    folder = Path(sys.argv[1])
    number = 0
    while sys.stdin.buffer.read(1):
        number += 1
        with np.load(folder / f"{number}.npz") as file:
            text, *arrays = file.values()
        task, (first, second) = json.loads(text.tobytes())
        if task == "figure":
            answer = _figure([_score(row) for row in first], second)
        else:
            answer = csv_text(first, [Column(*one) for one in zip(arrays, second, strict=True)]).encode()
        (folder / f"{number}.out").write_bytes(answer)
        os.write(answered, b"\n")


def _score(row: Sequence[Any]) -> Score:
    values: dict[str, Any] = dict(zip(_NEEDED, row, strict=True))
    return Score(**values, error=None)


def _figure(scores: Sequence[Score], title: str) -> bytes:
    from harness.drawing import to_png
    from harness.stages.figure import draw

    return to_png(draw(scores, title))
