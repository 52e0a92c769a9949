"""Candidate: the program in a completion, or why there is none.

A completion is hostile text, and CPython's parser is C that promises nothing about time or stack. So a child process
with limits of its own looks for the program, and that child is all that a completion can break.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from harness import answers
from harness.answers import Extraction
from harness.console import plain
from harness.errors import Fault
from harness.records import Completion
from harness.status import Status

TEXT_CHARACTERS = 4 << 20
"""Of a completion with its thoughts; more is not looked at."""
_CPU_SECONDS = 60
"""For the child; the worst answer that is known takes three, six on a busy machine. Only a hang is to meet this."""
_WALL_SECONDS = 1800
"""As a backstop; on a busy machine, too, CPU time comes first."""
_MEMORY_BYTES = 2 << 30
_BROKEN = {signal.SIGXCPU, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE}
"""Signals that an answer can cause; any other comes from outside."""


def extract(completion: Completion) -> Extraction:
    """The program that `completion` answers with.

    Raises:
        Fault: the child could not start or was ended from outside. Nothing in a completion can cause that.
    """
    if completion.refusal or completion.finish_reason == "content_filter":
        return Extraction(None, Status.REFUSED, completion.refusal or "the endpoint's content filter ended the answer")
    if len(completion.text) > TEXT_CHARACTERS:
        return Extraction(None, Status.REJECTED_SOURCE, f"the completion has {len(completion.text)} characters")
    question = json.dumps([completion.text, completion.finish_reason == "length"])  # ASCII, lone surrogates too
    package = str(Path(answers.__file__).resolve().parent.parent)
    environment = {k: v for k, v in os.environ.items() if k != "OPENAI_API_KEY"} | {"PYTHONPATH": package}
    command = [sys.executable, "-P", "-m", "harness.answers", str(_CPU_SECONDS), str(_MEMORY_BYTES)]
    try:
        child = subprocess.run(
            command, input=question.encode(), capture_output=True, env=environment, timeout=_WALL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Fault(f"the completion could not be read ({error}): try again when the machine is less busy") from error
    if child.returncode == 0:
        source, status, message = json.loads(child.stdout)
        return Extraction(source, None if status is None else Status(status), message)
    if -child.returncode in _BROKEN:
        how = signal.Signals(-child.returncode).name
        return Extraction(None, Status.REJECTED_SOURCE, f"the answer cannot be read: its parsing ended by {how}")
    said = plain(child.stderr.decode(errors="replace").strip().rpartition("\n")[2], 200)
    raise Fault(f"the completion could not be read (exit code {child.returncode}: {said}): report this as a bug")
