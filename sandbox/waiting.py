"""How a program that was started before there was a job for it waits for that job."""

from __future__ import annotations

import os
import time
from pathlib import Path

GO = "/job/go"
"""Empty as long as the files of the job are not complete."""

IDLE_SECONDS = 900.0
"""How long a program waits for its job: a harness that was killed can no longer end it."""

_POLL_SECONDS = 0.005


def wait(go: Path) -> None:
    """Wait until `go` has a byte; leave the program when none comes."""
    until = time.monotonic() + IDLE_SECONDS
    while not go.stat().st_size:
        if time.monotonic() > until:
            os._exit(1)
        time.sleep(_POLL_SECONDS)
