"""A study whose asking is killed with SIGKILL at random moments: what of the answers is lost, and what asked for twice.

    python -m benchmarks.kills_asking

A loopback server answers as Chat Completions do, after a moment; a study of 150 attempts asks it, four at a time, in a
process that is killed again and again and started again with the same command, until so many kills found it alive and
the study is complete. Every kill comes at a random moment: while the process starts, or within two answers
time after its first request. Printed are

- *received*: answers that the harness had on file, over all attempts.
- *on their way*: answers that the server sent and no process had on file yet when it was killed; nothing can know of
  them, and they are asked for again.
- *lost*: answers on file of which no candidate was archived.
- *doubled*: attempts that were asked for again after their answer was on file.

The exit status is 1 unless the last two are 0.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.tables import heading, row
from harness.ledger import Call, Ledger
from harness.store import Store
from harness.testing.openai_server import OpenAIServer

CODE = "```python\ndef prune(task):\n    raise task.NotApplicable\n```"
_STUDY = """
name = "killed"
targets = ["testbed-llama"]
sparsities = [0.5]
ideas = ["*"]
samples = {samples}

[[generators]]
model = "anyone"
endpoint = "{url}"
"""
_ASK = """
import sys
from pathlib import Path
from harness.asking import ask
from harness.ledger import Ledger
from harness.store import Store
from harness.planning import attempts
from harness.study import load
study = load("killed.toml")
with Store(Path("results.sqlite")) as store:
    sys.exit(bool(ask(study, attempts(study), Ledger(store)).faults))
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Kill it, and print what that came to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="of a process that was alive [%(default)s]")
    parser.add_argument("--samples", type=int, default=15, help="for each of the ten ideas [%(default)s]")
    parser.add_argument("--delay", type=float, default=1.5, help="seconds that an answer takes [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="of the moments [%(default)s]")
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory() as temporary,
        OpenAIServer(CODE, "slow", delay_seconds=options.delay) as server,
    ):
        folder = Path(temporary)
        (folder / "killed.toml").write_text(_STUDY.format(samples=options.samples, url=server.url))
        kills, runs = killed(folder, options.kills, random.Random(options.seed), server, options.delay)
        calls, archived = found(folder)
    received = [call for made in calls.values() for call in made if call.exchange is not None]
    lost = sum(name not in archived for name, made in calls.items() if any(c.exchange for c in made))
    doubled = sum(sum(call.exchange is not None for call in made) > 1 for made in calls.values())
    sent = sum(len(made) for made in calls.values())
    print(heading(("kills", "runs", "attempts", "requests", "received", "on their way", "lost", "doubled")))
    counts = (kills, runs, len(archived), sent, len(received), len(server.requests) - len(received), lost, doubled)
    print(row(*map(str, counts)))
    complete = len(archived) == 10 * options.samples
    if not complete:
        print(f"\nnot complete: {len(archived)} of {10 * options.samples} attempts are archived")
    sys.exit(0 if complete and lost == doubled == 0 else 1)


def killed(folder: Path, wanted: int, draw: random.Random, server: OpenAIServer, delay: float) -> tuple[int, int]:
    """How many kills found the process alive, and how often it was started until the study was complete."""
    environment = os.environ | {"OPENAI_API_KEY": "none", "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    kills, runs, start = 0, 0, 0.0
    while True:
        asked, begun = len(server.requests), time.monotonic()
        child = subprocess.Popen([sys.executable, "-c", _ASK], cwd=folder, env=environment)
        runs += 1
        if kills < wanted:
            moment = draw.uniform(-1, 1)
            if moment < 0 and start:
                time.sleep(-moment * start)  # as this machine starts it
            else:
                while len(server.requests) == asked and child.poll() is None:
                    time.sleep(0.01)
                start = time.monotonic() - begun
                time.sleep(max(moment, 0) * 2 * delay)
            if child.poll() is None:
                child.kill()
                kills += 1
        if child.wait() == 0:
            return kills, runs


def found(folder: Path) -> tuple[dict[str, list[Call]], set[str]]:
    """The calls on file by attempt, and the ids of what is archived."""
    with Store(folder / "results.sqlite", create=False) as store:
        calls = Ledger(store).calls()
    manifests = (folder / "generated").glob("*/*/*/manifest.json")
    return calls, {json.loads(path.read_text())["id"] for path in manifests}


if __name__ == "__main__":
    main()
