"""What strangers may hand over, archives, answers and results files, and how the harness itself may be ended."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import archive
from harness.errors import InputFault, StorageFault
from harness.prices import _count, amount
from harness.records import Completion, Idea, Prompt
from harness.resources import cache_folder
from harness.sandboxes import interior
from harness.snapshot import check_plain
from harness.status import Status
from harness.store import Cell, Plan, Store
from harness.testing.fake_bench import fake_score
from tests.sandbox_runs import containers, wait_for

PROMPT = Prompt(Idea("random-pruning", "Random Pruning", "At random."), "Prune.", "one-pass", "0" * 64)
COMPLETION = Completion("m", "no code", "stop", None, {}, {"usage": None}, 1.0, "2026-01-01T00:00:00+00:00")


def attempt(root: Path, status: str, **changes: Any) -> Path:
    """An archived attempt without code, whose manifest somebody has changed."""
    archive.archive(PROMPT, COMPLETION, root, source=None, status=Status.NO_CODE, message="none")
    folder = root / "m" / "random-pruning" / "01"
    manifest = json.loads((folder / "manifest.json").read_text()) | {"status": status} | changes
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize("status", ["OK", "NA", "TIMEOUT", "RUNTIME_ERROR"])
def test_an_archive_says_nothing_of_how_a_run_ended(tmp_path: Path, status: str) -> None:
    assert archive.load(attempt(tmp_path / "right", "REFUSED")).status == "REFUSED"
    with pytest.raises(InputFault, match="is no manifest of a candidate"):
        archive.load(attempt(tmp_path / "wrong", status))
    with pytest.raises(InputFault, match="is no manifest of a candidate"):
        archive.load(attempt(tmp_path / "long", "REFUSED", message="x" * 2001))


def test_a_pipe_in_an_archive_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    folder = attempt(tmp_path, "NO_CODE")
    (folder / "prompt.md").unlink()
    os.mkfifo(folder / "prompt.md")
    with pytest.raises(InputFault, match="is no regular file"):
        archive.load(folder)


@pytest.mark.parametrize("usage", [{"deep": json.loads("[" * 900 + "]" * 900)}, "x" * 10**6, {"total": 10**4000}])
def test_an_answer_is_archived_whatever_the_endpoint_counts(tmp_path: Path, usage: Any) -> None:
    long = replace(COMPLETION, finish_reason="f" * 10**6, response={"usage": usage})
    pruner = archive.archive(PROMPT, long, tmp_path, source=None, status=Status.REFUSED, message="m" * 10**6)
    assert (pruner.status, len(pruner.message or "")) == ("REFUSED", 2000)
    assert (tmp_path / pruner.name / "manifest.json").stat().st_size < 10_000


def test_counts_beyond_all_reason_are_none() -> None:
    assert (_count(10**400), amount(10**400), amount(1e300), amount(0.25), _count(12)) == (
        None,
        None,
        None,
        0.25,
        12,
    )


@pytest.mark.parametrize(
    "change", [{"perplexity": "high"}, {"notes": 7}, {"error": []}, {"seed": None}, {"pruner": {}}]
)
def test_a_record_of_the_wrong_types_is_one_line(tmp_path: Path, change: dict[str, Any]) -> None:
    score = fake_score()
    cell = Cell(score.target, score.sparsity, score.pruner)
    with Store(tmp_path / "results.sqlite") as store:
        store.save_plan(Plan("study", "", {}, "docker", (cell,)))
        store.add_score(cell, score)
        record = json.loads(store.connection.execute("SELECT record FROM score").fetchone()[0])
        store.connection.execute("UPDATE score SET record = ?", (json.dumps(record | change),))
        with pytest.raises(StorageFault, match=r"a record in it cannot be read"):
            store.scores()


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE more (a, b GENERATED ALWAYS AS (zeroblob(1000000000)))",
        "CREATE TABLE more (a CHECK (a > 1))",
        "CREATE INDEX more ON score (status)",
        "CREATE VIEW more AS SELECT * FROM score",
    ],
)
def test_a_results_file_with_anything_else_in_it_is_refused(tmp_path: Path, sql: str) -> None:
    path = tmp_path / "results.sqlite"
    Store(path).__exit__(None, None, None)
    check_plain(path)
    with sqlite3.connect(path) as connection:
        connection.execute(sql)
    with pytest.raises(StorageFault, match="other tables than those of results"):
        check_plain(path)


# How the harness is ended


@pytest.mark.docker
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_harness_that_is_asked_to_end_takes_everything_along(
    llama: Path, tokens: str, number: int, tmp_path: Path
) -> None:
    pruner = tmp_path / "loops.py"
    pruner.write_text("def prune(task):\n    while True: pass\n")
    texts = ["--calibration", tokens, "--eval", tokens, "--sandbox", "docker"]
    before = set((cache_folder() / "runs").glob("*"))
    command = [sys.executable, "-m", "harness", "run", str(pruner), "--target", str(llama), "--sparsity", "0.5", *texts]
    process = subprocess.Popen(command, start_new_session=True)
    assert wait_for(lambda: containers(process.pid), 60)
    time.sleep(1)
    process.send_signal(number)
    assert process.wait(timeout=60) == 130
    assert containers(process.pid) == []
    assert set((cache_folder() / "runs").glob("*")) == before


def test_a_first_process_that_nobody_ends_ends_itself() -> None:
    command = interior.first_process(sys.executable, ["-c", "import time; time.sleep(600)"], life_seconds=1.0)
    started = time.monotonic()
    assert subprocess.run(command, timeout=60, check=False).returncode == 1
    assert time.monotonic() - started >= 1
    subprocess.run(["pkill", "-f", "import time; time.sleep(600)"], check=False)  # a container would end with it


def test_a_digest_that_fits_does_not_make_code_of_what_is_none(tmp_path: Path) -> None:
    folder = attempt(tmp_path, "NO_CODE")
    (folder / "pruner.py").write_bytes(b"def prune(task): pass\n")
    digest = hashlib.sha256((folder / "pruner.py").read_bytes()).hexdigest()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["pruner.py"] = digest
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputFault, match="is no manifest of a candidate"):
        archive.load(folder)
