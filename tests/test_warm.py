"""Containers that are started ahead: each serves one run of what it was made for, and none stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.bench import Bench
from harness.errors import ContentionFault, UsageError
from harness.pipeline import open_bench
from harness.records import Limits, Score, Sparsity
from harness.resources import cache_folder
from harness.sandboxes import engine
from harness.sandboxes.contention import contended, waited_seconds
from tests.conftest import pruner
from tests.sandbox_runs import containers, processes_with, wait_for

HALF = Sparsity.parse("0.5")
TELLS = """
import os, socket
def prune(task):
    task.note(f"started {os.stat('/proc/1').st_ctime_ns} {os.getuid()}")
    for layer in task.layers():
        layer.weight[:, ::2] = 0
    try:
        open('/tmp/left', 'x').close()
    except FileExistsError:
        raise RuntimeError('somebody was here before')
"""


@pytest.fixture
def bench(llama: Path, tokens: str) -> Iterator[Bench]:
    opened = open_bench(str(llama), calibration=tokens, evaluation=tokens, sandbox="docker")
    opened._runs.close()  # what waits has other limits
    limited = replace(opened, limits=Limits(timeout_seconds=60, memory_bytes=1 << 30, threads=1))
    yield limited
    limited._runs.close()
    assert containers() == []
    assert not list((cache_folder() / "runs").iterdir())


def waiting(bench: Bench) -> str:
    """The one container that waits, when it has started."""
    (found,) = bench.sandbox._waiting  # type: ignore[attr-defined]
    return str(found.name())


def started(score: Score) -> str:
    assert score.status == "OK", score.error
    return score.notes[0]


@pytest.mark.docker
def test_a_waiting_container_serves_the_next_run_and_no_other(bench: Bench) -> None:
    assert containers() == []
    first = bench.score(pruner(TELLS), HALF, more=True)
    name = waiting(bench)
    assert containers() == [name]
    second = bench.score(pruner(TELLS), HALF, more=True)
    third = bench.score(pruner(TELLS), HALF)
    assert containers() == []
    assert len({started(score) for score in (first, second, third)}) == 3
    assert first.window_losses == second.window_losses == third.window_losses


@pytest.mark.docker
def test_what_the_first_run_needs_starts_while_the_target_is_opened(llama: Path, tokens: str) -> None:
    opened = open_bench(str(llama), calibration=tokens, evaluation=tokens, sandbox="docker")
    name = waiting(opened)
    assert containers() == [name]
    with engine.connect() as client:
        user, _, _ = client.containers.get(name).attrs["Config"]["User"].partition(":")
    assert started(opened.score(pruner(TELLS), HALF)).endswith(f" {user}")
    assert containers() == []


@pytest.mark.docker
def test_the_canaries_before_a_batch_leave_one_to_it(bench: Bench) -> None:
    bench.check_canaries(more=True)
    assert containers() == [waiting(bench)]
    bench.check_canaries()
    assert containers() == []


@pytest.mark.docker
def test_nothing_waits_where_the_target_could_not_be_opened(llama: Path, tokens: str) -> None:
    with pytest.raises(UsageError, match="windows were asked for"):
        open_bench(str(llama), calibration=tokens, evaluation=tokens, eval_windows=1000, sandbox="docker")
    assert containers() == []
    opened = open_bench(str(llama), calibration=tokens, evaluation=tokens, statistics="dense", sandbox="docker")
    assert containers() == []  # what a run on dense statistics is shown depends on its pruner
    assert not list((cache_folder() / "runs").iterdir())
    del opened


@pytest.mark.docker
def test_one_that_was_made_for_something_else_is_not_used(bench: Bench) -> None:
    bench.score(pruner(TELLS), HALF, more=True)
    name = waiting(bench)
    other = replace(bench, limits=replace(bench.limits, memory_bytes=900 << 20))
    assert other.score(pruner(TELLS), HALF).status == "OK"
    assert name not in containers()


@pytest.mark.docker
@pytest.mark.parametrize("end", ["kill", "remove"])
def test_one_that_died_meanwhile_is_nobodys_fault(bench: Bench, end: str) -> None:
    bench.score(pruner(TELLS), HALF, more=True)
    name = waiting(bench)
    with engine.connect() as client:
        container = client.containers.get(name)
        container.kill() if end == "kill" else container.remove(force=True)
        assert wait_for(lambda: container.id not in [c.id for c in client.containers.list()])
    assert bench.score(pruner(TELLS), HALF).status == "OK"


@pytest.mark.docker
def test_a_pruner_without_code_leaves_it_to_the_next(bench: Bench) -> None:
    bench.score(pruner(TELLS), HALF, more=True)
    name = waiting(bench)
    assert bench.score(replace(pruner(TELLS), source=None), HALF, more=True).status == "NO_CODE"
    assert waiting(bench) == name
    assert bench.score(pruner(TELLS), HALF).status == "OK"


@pytest.mark.docker
def test_a_bench_that_is_gone_leaves_none(llama: Path, tokens: str) -> None:
    opened = open_bench(str(llama), calibration=tokens, evaluation=tokens, sandbox="docker")
    opened.score(pruner(TELLS), HALF, more=True)
    assert containers() == [waiting(opened)]
    del opened
    assert containers() == []


@pytest.mark.docker
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_harness_leaves_none(llama: Path, tokens: str, number: int, tmp_path: Path) -> None:
    program = f"""
        import os, signal
        from harness.pipeline import open_bench
        from harness.records import Pruner, Sparsity
        bench = open_bench({str(llama)!r}, calibration={tokens!r}, evaluation={tokens!r}, sandbox="docker")
        bench.score(Pruner("p", "human", {TELLS.encode()!r}), Sparsity.parse("0.5"), more=True)
        print(bench.sandbox._waiting[0].name(), flush=True)
        os.kill(os.getpid(), {int(number)})
        """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
    said, _ = process.communicate(timeout=120)
    name = said.strip()
    if number == signal.SIGKILL:
        assert containers(process.pid) == [name]
        open_bench(str(llama), calibration=tokens, evaluation=tokens, sandbox="docker")  # removes what died left
    assert containers(process.pid) == []


@pytest.mark.docker
def test_a_waiting_program_gives_up_in_the_end() -> None:
    from sandbox import waiting

    program = "import sys; from pathlib import Path; from sandbox import waiting as w; w.IDLE_SECONDS = 0.1; "
    command = [sys.executable, "-c", program + "w.wait(Path(sys.argv[1]))", os.devnull]
    assert subprocess.run(command, timeout=60, check=False).returncode == 1
    assert waiting.IDLE_SECONDS > 600


# Contention


@pytest.mark.parametrize(
    ("cpu", "waited", "busy", "wall", "processors", "expected"),
    [
        (0.1, 0.0, 20, 10, 2, False),  # sleeps
        (10.0, 0.1, 10, 10, 2, False),  # one busy thread on a quiet machine
        (20.0, 600.0, 20, 10, 2, False),  # many threads of its own
        (2.0, 8.0, 20, 10, 2, True),  # one busy thread beside many others' processes
        (6.0, 600.0, 20, 10, 2, True),  # many threads beside many others' processes
        (6.0, 4.0, 20, 10, 2, False),  # most of what it wanted
        (0.2, 0.9, 20, 10, 2, False),  # sleeps, and waits a little when it wakes
        (9.8, 30.0, 11, 10, 2, False),  # binds its threads to one processor, and nobody has the other one
        (1.0, 9.0, 1, 10, 2, False),  # waits for what nobody has
        (None, 8.0, 20, 10, 2, False),
        (2.0, None, 20, 10, 2, False),
        (2.0, 8.0, None, 10, 2, False),
    ],
)
def test_contention_is_wanting_and_not_getting_what_others_had(
    cpu: float | None, waited: float | None, busy: float | None, wall: float, processors: int, expected: bool
) -> None:
    assert contended(cpu, waited, busy, wall, processors) is expected


def test_nothing_is_known_of_processes_that_are_gone() -> None:
    assert waited_seconds([]) is None
    assert waited_seconds([1 << 30]) is None
    assert (waited_seconds([os.getpid()]) or 0) > 0


@pytest.mark.parametrize("level", [pytest.param("docker", marks=pytest.mark.docker), "bubblewrap"])
def test_a_busy_machine_is_not_the_pruners_fault(level: str, llama: Path, tokens: str) -> None:
    opened = open_bench(str(llama), calibration=tokens, evaluation=tokens, sandbox=level)
    hurried = replace(opened, limits=Limits(timeout_seconds=8, memory_bytes=1 << 30, threads=1))
    loops, sleeps = (
        pruner(f"import time\ndef prune(task):\n    while True: {what}") for what in ("pass", "time.sleep(1)")
    )
    assert hurried.score(loops, HALF).status == "TIMEOUT"
    token = f"hog-{os.getpid()}"
    cores = len(os.sched_getaffinity(0))
    hog = [sys.executable, "-c", "while True: pass", token]
    # each in a session of its own: the scheduler shares the time out among sessions first
    hogs = [subprocess.Popen(hog, start_new_session=True) for _ in range(12 * cores)]
    try:
        with pytest.raises(ContentionFault, match="too little of its 8 s"):
            hurried.score(loops, HALF)
    finally:
        for each in hogs:
            each.kill()
            each.wait()
    assert processes_with(token) == []
    assert hurried.score(sleeps, HALF).status == "TIMEOUT"
