"""`make demo`: human and sample pruners on a tiny model, ranked, in the strongest sandbox that works here."""

from __future__ import annotations

import sys
import time

from harness import console
from harness.cli import main
from harness.errors import Fault
from harness.sandboxes import image
from harness.sandboxes.engine import answers


def sandbox() -> str:
    """docker where an engine answers and its image is there or can be built, else the fallback, with the reason."""
    if not answers():
        return "auto"
    try:
        image.build(None, None, console.notice)
    except Fault as fault:
        console.notice(f"Docker is not used: {fault}")
        return "bubblewrap"
    return "docker"


def harness(*arguments: str) -> None:
    """One command, as a person would type it; ends the demo when it fails."""
    console.notice(f"\n$ harness {' '.join(arguments)}")
    try:
        main(list(arguments))
    except SystemExit as done:
        if done.code:
            raise


if __name__ == "__main__":
    level = sandbox()
    started = time.monotonic()
    harness("study", "run", "quickstart", "--sandbox", level, "--rank-any-isolation")
    harness("report", "quickstart")
    print(f"\nThe main job took {time.monotonic() - started:.0f} s.", file=sys.stderr)
