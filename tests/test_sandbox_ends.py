"""How a program's end is seen, on both levels of isolation: programs that try to break it."""

from __future__ import annotations

import signal
import sys
import time
import uuid
from collections.abc import Callable

import pytest

from harness.records import Limits
from tests.sandbox_runs import LEVELS, Level, Run, processes_with

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandboxes' tests look at Linux processes")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("code", [0, 1, 3, 125, 126, 127, 255])
def test_an_exit_code_is_the_programs_own(level: Level, code: int, run: Callable[..., Run]) -> None:
    execution = run(level, f"os._exit({code})").execution
    assert (execution.exit_code, execution.signal, execution.timed_out) == (code, None, False)
    assert not execution.out_of_memory


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("program", "number"),
    [
        ("import ctypes; ctypes.string_at(0)", signal.SIGSEGV),
        ("os.abort()", signal.SIGABRT),
        ("os.kill(os.getpid(), 9)", signal.SIGKILL),
        ("os.kill(os.getpid(), 15)", signal.SIGTERM),
    ],
)
def test_a_signal_is_told_from_an_exit(level: Level, program: str, number: int, run: Callable[..., Run]) -> None:
    execution = run(level, program).execution
    assert (execution.exit_code, execution.signal) == (None, number)
    assert not execution.timed_out
    assert not execution.out_of_memory


@pytest.mark.parametrize("level", LEVELS)
def test_the_deadline_ends_everything(level: Level, run: Callable[..., Run]) -> None:
    token = uuid.uuid4().hex
    program = f"""
        import signal, sys, time
        token = {token!r}
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                while True:
                    time.sleep(0.05)
                    os.pwrite(log, b'.', 0)
            time.sleep(1000)
        while True:
            pass
    """
    result = run(level, program, Limits(2.0, 256 << 20, 16, 1))
    assert result.execution.timed_out
    assert (result.execution.exit_code, result.execution.signal) == (None, None)
    assert 2.0 <= result.execution.wall_seconds < 20.0
    assert result.execution.cpu_seconds is not None
    assert result.execution.cpu_seconds > 0.2, "a busy program is not taken for one that got no time"
    assert processes_with(token) == []


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_goes_on_after_the_end(level: Level, run: Callable[..., Run]) -> None:
    token = uuid.uuid4().hex
    program = f"""
        import time
        token = {token!r}
        if os.fork() == 0:
            os.setsid()
            while True:
                time.sleep(0.01)
                os.pwrite(log, str(time.time()).encode(), 0)
        time.sleep(0.2)
    """
    result = run(level, program)
    assert result.execution.exit_code == 0
    assert processes_with(token) == []
    before = (result.folder / "log").read_bytes()
    time.sleep(0.3)
    assert before
    assert (result.folder / "log").read_bytes() == before
