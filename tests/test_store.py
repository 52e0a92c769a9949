"""The results file: round trips, one row a cell, faults apart, kills, foreign files, full disks."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.errors import StorageFault
from harness.ledger import Ledger
from harness.records import Failure, Score, Zeros
from harness.status import Status
from harness.store import Cell, Plan, Store
from harness.testing.fake_bench import FakeLab, fake_score

CELLS = tuple(Cell("testbed-llama", sparsity, name, "ab") for sparsity in ("0.5", "2:4") for name in ("wanda", "bias"))
PLAN = Plan("study", 'name = "study"', {"seed": 0}, "docker", CELLS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "results" / "results.sqlite"
    with Store(file) as store:
        store.save_plan(PLAN)
    return file


def test_plan_comes_back(path: Path) -> None:
    with Store(path, create=False) as store:
        assert store.plan() == PLAN


def test_plan_may_change_but_not_lose_a_scored_cell(path: Path) -> None:
    with Store(path) as store:
        more = Plan("study", "text", {}, "any", (Cell("t", "0.1", "new"), *reversed(CELLS)))
        store.save_plan(more)
        assert store.plan() == more
        store.add_score(CELLS[0], fake_score("wanda"))
        with pytest.raises(StorageFault):
            store.save_plan(Plan("study", "text", {}, "any", CELLS[1:]))
        assert store.plan() == more


def test_every_field_of_a_score_comes_back(path: Path) -> None:
    score = Score(
        pruner="wanda",
        author="model",
        target="testbed-llama",
        sparsity="0.5",
        status="RUNTIME_ERROR",
        outcome="Error",
        error=Failure("run", "ValueError", "bad\n\x1b[31m| <b> \u202e", 7, "Traceback"),
        achieved_sparsity=0.1 + 0.2,
        perplexity=1e300,
        perplexity_low=float("inf"),
        perplexity_high=17.25,
        dense_perplexity=1 / 3,
        sandbox_seconds=1.5,
        prune_seconds=0.5,
        score_seconds=0.25,
        peak_memory_bytes=1 << 40,
        isolation="docker:runsc",
        protocol="p",
        seed=5,
        uniform=False,
        weights_changed=True,
        quarantined=True,
        idea="l1",
        model="o1",
        template="terse",
        notes=("down_proj: damping raised", "bad\n\x1b[31m| <b> \u202e"),
        window_losses=(0.1, 1 / 3, 1e-308, float("inf")),
        kl_divergence=1 / 7,
        text=" a great place\n\u202e",
        repeatable=False,
        seed_perplexities=(16.5, 1 / 3),
        zeros=Zeros((0.5, 0.25), b"\x00\xff", "abc"),
    )
    assert all(getattr(score, one.name) is not None for one in fields(Score)), "a new field: give it a value here"
    with Store(path) as store:
        store.add_score(CELLS[0], score)
    with Store(path) as store:
        assert store.scores() == [replace(score, zeros=None)]
        assert store.zeros() == {CELLS[0].key: score.zeros}


def test_window_losses_are_a_float64_blob(path: Path) -> None:
    with Store(path) as store:
        store.add_score(CELLS[0], fake_score("wanda", window_losses=(1.5, 2.5)))
    blob = sqlite3.connect(path).execute("SELECT window_losses FROM score").fetchone()[0]
    assert blob == bytes.fromhex("000000000000f83f0000000000000440")


def test_a_cell_has_one_score_and_the_first_stays(path: Path) -> None:
    with Store(path) as one, Store(path) as other:
        one.add_score(CELLS[0], fake_score("wanda", seed=1))
        other.add_score(CELLS[0], fake_score("wanda", seed=2))
        assert [score.seed for score in one.scores()] == [1]
        assert one.has_score(CELLS[0])
        assert not one.has_score(CELLS[1])


def test_a_score_needs_a_planned_cell(path: Path) -> None:
    with Store(path) as store, pytest.raises(StorageFault):
        store.add_score(Cell("other", "0.5", "wanda"), fake_score("wanda"))


def test_scores_come_in_plan_order(path: Path) -> None:
    with Store(path) as store:
        for cell in reversed(CELLS):
            store.add_score(cell, fake_score(cell.pruner, cell.sparsity))
        assert [(score.sparsity, score.pruner) for score in store.scores()] == [cell.key[1:] for cell in CELLS]


def test_faults_stand_apart_and_never_take_a_scores_place(path: Path) -> None:
    with Store(path) as store:
        store.add_score(CELLS[0], fake_score("wanda"))
        store.add_faults(CELLS[:2], "INFRA_SANDBOX", "no engine")
        store.add_faults(CELLS[:2], "INFRA_STORAGE", "disk full")
        assert [(f.pruner, f.status, f.message, f.attempts) for f in store.faults()] == [
            ("bias", "INFRA_STORAGE", "disk full", 2)
        ]
        assert [score.status for score in store.scores()] == ["OK"]
        store.add_score(CELLS[1], fake_score("bias", status=Status.NA))
        assert store.faults() == []


def test_measurement_and_dense_losses_come_back(path: Path) -> None:
    bench = FakeLab().open_bench("testbed-llama")
    with Store(path) as store:
        assert store.dense_losses("testbed-llama") is None
        store.add_measurement("testbed-llama", bench.measurement, bench.dense_losses)
        store.add_measurement("testbed-llama", bench.measurement, bench.dense_losses)
        assert store.measurements() == {"testbed-llama": bench.measurement}
        assert store.dense_losses("testbed-llama") == bench.dense_losses


KILLED = """
import sys
from pathlib import Path
from harness.store import Cell, Plan, Store
from harness.testing.fake_bench import fake_score
with Store(Path(sys.argv[1])) as store:
    cells = tuple(Cell("t", "0.5", f"pruner-{i}") for i in range(100_000))
    store.save_plan(Plan("study", "", {}, "docker", cells))
    print("begun", flush=True)
    for cell in cells:
        store.add_score(cell, fake_score(cell.pruner, window_losses=tuple(map(float, range(5000)))))
        print(cell.pruner, flush=True)
"""


def test_kill_while_writing_loses_nothing_reported_and_breaks_nothing(tmp_path: Path) -> None:
    file = tmp_path / "results.sqlite"
    for pause in (0.0, 0.013, 0.057, 0.1):
        file.unlink(missing_ok=True)
        child = subprocess.Popen([sys.executable, "-c", KILLED, file], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        reported = [child.stdout.readline().strip() for _ in range(3)]
        time.sleep(pause)
        os.kill(child.pid, signal.SIGKILL)
        reported += child.stdout.read().split("\n")[:-1]
        child.wait()
        with Store(file) as store:
            scores = store.scores()
            names = [score.pruner for score in scores]
            assert names[: len(reported)] == reported
            assert len(names) <= len(reported) + 1
            assert all(score.window_losses == tuple(map(float, range(5000))) for score in scores)
            plan = store.plan()
            assert plan is not None
            store.add_score(plan.cells[-1], fake_score("after"))
        assert sqlite3.connect(file).execute("PRAGMA integrity_check").fetchone() == ("ok",)


TWO = """
import sys
from pathlib import Path
from harness.store import Cell, Plan, Store
from harness.testing.fake_bench import fake_score
cells = tuple(Cell("t", "0.5", f"pruner-{i}") for i in range(40))
with Store(Path(sys.argv[1])) as store:
    store.save_plan(Plan("study", "", {}, "docker", cells))
    for cell in cells:
        store.add_score(cell, fake_score(cell.pruner, seed=int(sys.argv[2])))
"""


def test_two_processes_fill_one_file(tmp_path: Path) -> None:
    file = tmp_path / "results.sqlite"
    children = [subprocess.Popen([sys.executable, "-c", TWO, file, str(seed)]) for seed in (1, 2)]
    assert [child.wait() for child in children] == [0, 0]
    with Store(file) as store:
        assert [score.pruner for score in store.scores()] == [f"pruner-{i}" for i in range(40)]


def foreign_bytes(file: Path) -> None:
    file.write_bytes(b"this is not a database, but it is long enough to look at " * 20)


def foreign_database(file: Path) -> None:
    with sqlite3.connect(file) as other:
        other.execute("CREATE TABLE notes (text)")
    other.close()


def newer_version(file: Path) -> None:
    Store(file).close()
    with sqlite3.connect(file) as own:
        own.execute("PRAGMA user_version = 99")
    own.close()


def torn(file: Path) -> None:
    Store(file).close()
    content = file.read_bytes()
    file.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))


def folder(file: Path) -> None:
    file.mkdir()


@pytest.mark.parametrize("make", [foreign_bytes, foreign_database, newer_version, torn, folder])
def test_an_unusable_file_is_refused_in_one_line_and_left_alone(tmp_path: Path, make: object) -> None:
    file = tmp_path / "results.sqlite"
    assert callable(make)
    make(file)
    before = file.read_bytes() if file.is_file() else b""
    with pytest.raises(StorageFault) as caught, Store(file) as store:
        store.save_plan(PLAN)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)
    assert (file.read_bytes() if file.is_file() else b"") == before


BATCHES = ("batch_line", "batch_call", "batch")


def test_a_file_of_the_version_before_batches_keeps_its_calls(path: Path) -> None:
    with sqlite3.connect(path) as own:
        for table in BATCHES:
            own.execute(f"DROP TABLE {table}")
        own.execute("INSERT INTO attempt VALUES ('a', 0, '{}')")
        own.execute("INSERT INTO call (attempt, sent, request) VALUES ('a', '2026-01-01T00:00:00+00:00', '{}')")
        own.execute("PRAGMA user_version = 4")
    own.close()
    with Store(path) as store:
        ledger = Ledger(store)
        assert [call.attempt for call in ledger.calls()["a"]] == ["a"]
        assert ledger.batches.running() == []
        batch = ledger.batches.open("g", "http://127.0.0.1/v1", "chat", [("a", {"body": {}})])
        assert ledger.batches.running() == [batch]


def test_a_file_of_the_first_version_is_brought_up_to_this_one(path: Path) -> None:
    with Store(path) as store:
        store.add_score(CELLS[0], fake_score("wanda"))
    with sqlite3.connect(path) as own:
        for table in ("zeros", "origin", "environment", *BATCHES, "call", "attempt", "promise"):
            own.execute(f"DROP TABLE {table}")
        own.execute("UPDATE measurement SET record = json_remove(record, '$.layers', '$.dense_text')")
        own.execute("PRAGMA user_version = 1")
    own.close()
    with Store(path) as one, Store(path) as other:
        assert [score.pruner for score in one.scores()] == ["wanda"]
        assert (one.zeros(), other.zeros(), one.origins(), other.environments()) == ({}, {}, {}, {})
        other.add_score(CELLS[1], fake_score("wanda", zeros=Zeros((0.5,), b"\x01", "abc")))
        assert list(one.zeros()) == [CELLS[1].key]


def test_a_score_says_what_it_was_measured_with(path: Path) -> None:
    with Store(path) as store:
        store.add_environment("abc", {"harness": "1", "libraries": {"torch": "2"}})
        store.add_environment("abc", {"harness": "1", "libraries": {"torch": "2"}})
        store.add_score(CELLS[0], fake_score("wanda"), "abc")
        store.add_score(CELLS[0], fake_score("wanda"), "abc")
        store.add_score(CELLS[1], fake_score("wanda"))
        assert store.environments() == {"abc": {"harness": "1", "libraries": {"torch": "2"}}}
        origins = store.origins()
        assert list(origins) == [CELLS[0].key]
        assert origins[CELLS[0].key].environment == "abc"
        assert datetime.fromisoformat(origins[CELLS[0].key].finished).tzinfo is UTC
        with pytest.raises(StorageFault):
            store.add_score(CELLS[2], fake_score("bias"), "not on file")
        store.set_aside([CELLS[0]], "INFRA_CANARY", "off")
        assert store.origins() == {}


def test_what_is_done_is_told_without_a_score_being_read(path: Path) -> None:
    with Store(path) as store:
        assert (store.scored(), store.isolations()) == (set(), set())
        store.add_score(CELLS[0], fake_score("wanda", isolation="docker:runsc"))
        store.add_score(CELLS[1], fake_score("wanda", isolation="bubblewrap"))
        assert store.scored() == {CELLS[0].key, CELLS[1].key}
        assert store.isolations() == {"docker:runsc", "bubblewrap"}
        store.connection.execute("UPDATE score SET record = 'no JSON'")
        with pytest.raises(StorageFault):
            store.isolations()


def test_a_missing_file_is_not_made_for_reading(tmp_path: Path) -> None:
    with pytest.raises(StorageFault):
        Store(tmp_path / "none.sqlite", create=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("label", ["", "half", "a:$\\frac{$", "4:2", "1.5", "rows:x"])
def test_a_sparsity_of_a_stranger_that_is_none_is_a_fault(path: Path, label: str) -> None:
    with Store(path) as store:
        store.add_score(CELLS[0], replace(fake_score("wanda"), sparsity=label))
        with pytest.raises(StorageFault, match=r"cannot be read.*sparsity"):
            store.scores()


def test_a_damaged_record_is_a_fault(path: Path) -> None:
    with Store(path) as store:
        store.add_score(CELLS[0], fake_score("wanda"))
    with sqlite3.connect(path) as own:
        own.execute("UPDATE score SET record = ?", (json.dumps({"error": None}),))
    own.close()
    with Store(path) as store, pytest.raises(StorageFault, match="cannot be read"):
        store.scores()


def test_a_full_disk_is_a_fault_and_keeps_what_is_there(path: Path) -> None:
    with Store(path) as store:
        store.add_score(CELLS[0], fake_score("wanda"))
        pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
        store.connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StorageFault, match="disk is full"):
            store.add_score(CELLS[1], fake_score("bias", window_losses=(1.0,) * 100_000))
        assert [score.pruner for score in store.scores()] == ["wanda"]
