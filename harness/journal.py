"""What `harness generate` asks and is answered, kept line by line before any of it is read."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

from harness.errors import StorageFault
from harness.records import Exchange

NAME = "requests.jsonl"
"""Of the file, in the archive's folder."""


class Journal:
    """As `harness.records.Recorder`: into a file that only grows.

    A line has the `request` as it is sent; the next of that process the `status`, `headers`, `seconds` and `created` of
    its answer, and the answer itself: `response`, or `response_hex` where it is no text.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / NAME

    def sent(self, request: dict[str, Any]) -> None:
        """As the protocol says.

        Raises:
            StorageFault: the line cannot be written; nothing is asked.
        """
        self._append({"process": os.getpid(), "request": request})

    def received(self, exchange: Exchange) -> None:
        """As the protocol says.

        Raises:
            StorageFault: the line cannot be written.
        """
        try:
            answer = {"response": exchange.content.decode()}
        except UnicodeDecodeError:
            answer = {"response_hex": exchange.content.hex()}
        facts = {name: getattr(exchange, name) for name in ("status", "headers", "seconds", "created")}
        self._append({"process": os.getpid(), **facts, **answer})

    def _append(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab", buffering=0) as file:
                if file.write(line) != len(line):  # the rest of what a full disk took stays a line of its own
                    file.write(b"\n")
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
        except OSError as error:
            reason = f"{error.strerror or error}; make room, or give --generated DIR"
            raise StorageFault(f"{self._path}: cannot be written: {reason}") from None
