"""A study of a tiny random model, run in peace and while its Docker engine is killed, and what that changed."""

from __future__ import annotations

import os
import random
import re
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.own_engine import OwnEngine
from benchmarks.process import PASSIVE, ROOT
from benchmarks.random_model import make, make_tokens
from harness.records import Score
from harness.store import Store
from harness.study_run import tally

FILES = {
    "raises": "def prune(task):\n    raise ValueError('on purpose')\n",
    "leaves": "import os\ndef prune(task):\n    os._exit(0)\n",
    "kills_itself": "import os\ndef prune(task):\n    os.kill(os.getpid(), 9)\n",
    "eats_memory": "def prune(task):\n    held = b'x'\n    while True:\n        held += held\n",
    "misses": "def prune(task):\n    for layer in task.layers():\n        layer.weight[0] = 0\n",
}
"""Pruners that fail by themselves, three of them so that it looks much like a killed engine."""
_SIZES = {"hidden": 16, "intermediate": 40, "blocks": 3, "heads": 4, "vocabulary": 96, "seqlen": 32}
_FAULTS = 3
_PEACEFUL_RUNS = 2
"""How often the study is resumed after the last kill; more than once would say that something stays broken."""
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Kill:
    """One kill of the engine."""

    seconds: float
    containerd: bool
    containers: int
    scores: int
    back_seconds: float


@dataclass
class Found:
    """What the killed study came to; counts of cells, unless said otherwise."""

    cells: int
    kills: list[Kill]
    idle_kills: int
    """Kills at moments without a container."""
    resumptions: int
    different: list[str]
    """Cells that are not as in the undisturbed study."""
    changed: int
    """Rows of the file that were there at a kill, and were another or none in the end."""
    doubled: int
    """Cells that came to a result more often than once, or never, by what the study said."""
    faults: int
    containers: int
    """Containers of the harness in the engine, in the end."""
    folders: int
    """Folders of runs in the cache, in the end."""

    def harm(self) -> dict[str, int]:
        """What must be 0."""
        counts = {"cells that differ": len(self.different), "rows that changed": self.changed}
        counts |= {"cells not done exactly once": self.doubled, "faults left": self.faults}
        return counts | {"containers left": self.containers, "run folders left": self.folders}


class Trial:
    """A study in a folder of its own, run by an engine of its own."""

    def __init__(self, folder: Path, engine: OwnEngine, pruners: Sequence[str], sparsities: Sequence[str]) -> None:
        self._folder, self._engine = folder, engine
        make(folder / "model", **_SIZES)
        make_tokens(folder / "tokens.npy", _SIZES["vocabulary"], 6, 16)
        for name, source in FILES.items():
            (folder / f"{name}.py").write_text(source)
        names = [f"{name}.py" if name in FILES else name for name in pruners]
        lines: dict[str, Any] = {
            "name": "kills",
            "targets": ["model"],
            "sparsities": list(sparsities),
            "pruners": names,
        }
        lines |= {"calibration": "tokens:tokens.npy", "eval": "tokens:tokens.npy", "sandbox": "docker"}
        lines |= {"memory": "1 GiB", "timeout": 300}
        (folder / "study.toml").write_text("".join(f"{key} = {value!r}\n" for key, value in lines.items()))

    def start(self, results: str) -> subprocess.Popen[bytes]:
        """`harness study run`, which appends what it says to a file beside its results."""
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        here = {"DOCKER_HOST": self._engine.address, "HARNESS_CACHE": str(self._folder / "cache"), "PYTHONPATH": path}
        command = [sys.executable, "-m", "harness", "study", "run", "study.toml", "--results", results]
        with (self._folder / f"{results}.log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=self._folder, env=os.environ | PASSIVE | here, stdout=log, stderr=subprocess.STDOUT
            )

    def undisturbed(self) -> float:
        """Run it in peace, and return for how many seconds containers ran.

        Raises:
            SystemExit: it does not end well.
        """
        process = self.start("undisturbed")
        self._wait_for_container(process)
        started = time.monotonic()
        self._check(process.wait(), "undisturbed", (0,))
        return time.monotonic() - started

    def disturbed(self, kills: int, seed: int, span: float, notice: Callable[[Kill], None]) -> Found:
        """Run it, kill the engine that often, resume it until it is complete, and compare.

        Args:
            kills: while containers were there.
            seed: of the moments.
            span: seconds that it takes in peace.
            notice: takes each kill that counts.

        Raises:
            SystemExit: the study was complete too early, or does not end well.
        """
        chance, started, done, idle, resumptions = random.Random(seed), time.monotonic(), list[Kill](), 0, -1
        rows: dict[tuple[str, Key], Any] = {}
        code, peaceful = _FAULTS, 0
        while code == _FAULTS and peaceful < _PEACEFUL_RUNS:
            resumptions, process = resumptions + 1, self.start("killed")
            peaceful += len(done) == kills
            while len(done) < kills and self._wait_for_container(process):
                self._let_go_on(process, chance.random(), kills - len(done), span)
                if process.poll() is not None:
                    break
                seconds, containers, scores = time.monotonic() - started, len(self._containers()), self._rows()
                containerd = len(done) % 2 == 1
                killed = time.monotonic()
                self._engine.kill(containerd=containerd)
                rows |= scores
                time.sleep(chance.uniform(0, 2))
                self._engine.start()
                if containers == 0:
                    idle += 1
                    continue
                known = sum(table == "score" for table, _ in scores)
                done.append(Kill(seconds, containerd, containers, known, time.monotonic() - killed))
                notice(done[-1])
            code = process.wait()
            self._check(code, "killed", (0, _FAULTS))
        if len(done) < kills:
            raise SystemExit(f"the study was complete after {len(done)} of {kills} kills: take more pruners")
        return self._compared(done, idle, resumptions, rows)

    def _compared(self, kills: list[Kill], idle: int, resumptions: int, rows: dict[tuple[str, Key], Any]) -> Found:
        (expected, masks), (scores, own_masks) = self._results("undisturbed"), self._results("killed")
        different = [
            f"{pruner} at {sparsity}: {_status(scores.get(key))}, undisturbed {_status(expected.get(key))}"
            for key in expected | scores
            for _, sparsity, pruner in [key]
            if scores.get(key) != expected.get(key) or own_masks.get(key) != masks.get(key)
        ]
        now = self._rows()
        said = (self._folder / "killed.log").read_text()
        results = Counter(re.findall(r"^(\S+) at (\S+) on (\S+): ", said, re.MULTILINE))
        with Store(self._folder / "killed/results.sqlite", create=False) as store:
            faults = len(store.faults())
        return Found(
            cells=len(expected),
            kills=kills,
            idle_kills=idle,
            resumptions=resumptions,
            different=different,
            changed=sum(now.get(key) != content for key, content in rows.items()),
            doubled=sum(results[pruner, sparsity, target] != 1 for target, sparsity, pruner in expected),
            faults=faults,
            containers=len(self._containers()),
            folders=len(list((self._folder / "cache/runs").iterdir())),
        )

    def _results(self, results: str) -> tuple[dict[Key, Score], dict[Key, Any]]:
        with Store(self._folder / results / "results.sqlite", create=False) as store:
            return {(s.target, s.sparsity, s.pruner): _comparable(s) for s in store.scores()}, store.zeros()

    def _rows(self) -> dict[tuple[str, Key], Any]:
        """All rows of the killed study's file that are a result, as they lie there."""
        file = self._folder / "killed/results.sqlite"
        connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=30)
        try:
            return {
                (table, found[:3]): found
                for table in ("score", "zeros")
                for found in connection.execute(f"SELECT * FROM {table}")  # noqa: S608 - one of these two
            }
        finally:
            connection.close()

    def _containers(self) -> list[str]:
        with self._engine.client() as client:
            found = client.containers.list(all=True, filters={"label": "harness.owner"}, ignore_removed=True)
            return [str(container.name) for container in found]

    def _wait_for_container(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether the process came to run one before it ended."""
        while process.poll() is None:
            with self._engine.client() as client:
                found = client.containers.list(all=True, filters={"label": "harness.owner"}, ignore_removed=True)
                if any(f"/{process.pid}:" in container.labels["harness.owner"] for container in found):
                    return True
            time.sleep(0.05)
        return False

    def _let_go_on(self, process: subprocess.Popen[bytes], chance: float, kills: int, span: float) -> None:
        """Wait for a random part of the work that is left, so that some is left for the kills to come.

        Args:
            process: the study; its end is the end of the wait.
            chance: from 0 to 1.
            kills: to come, this one included; for each of them a cell is kept.
            span: seconds that all cells take.
        """
        since = time.monotonic()
        while process.poll() is None:
            with Store(self._folder / "killed/results.sqlite", create=False) as store:
                done = tally(store)
            free = 1 - (done.scored + kills) / done.planned
            if free <= 0 or time.monotonic() - since > chance * 2 * span * free / (kills + 1):
                return
            time.sleep(0.02)

    def _check(self, code: int, results: str, expected: tuple[int, ...]) -> None:
        if code not in expected:
            said = (self._folder / f"{results}.log").read_text().splitlines()
            raise SystemExit("\n".join([*said[-10:], f"the {results} study ended with {code}"]))


def _comparable(score: Score) -> Score:
    """Without what no two runs have in common."""
    return replace(score, sandbox_seconds=None, prune_seconds=None, score_seconds=None, peak_memory_bytes=None)


def _status(score: Score | None) -> str:
    if score is None:
        return "no score"
    return score.status if score.perplexity is None else f"{score.status} {score.perplexity:.9g}"
