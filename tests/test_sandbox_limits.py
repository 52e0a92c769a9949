"""What both levels of isolation let a program use: programs that want more."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import pytest

from harness.records import Limits
from harness.sandboxes import interior
from harness.sandboxes.bubblewrap import BubblewrapSandbox
from harness.sandboxes.docker import DockerSandbox
from tests.sandbox_runs import FILE_BYTES, LEVELS, Level, Run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandboxes' tests look at Linux processes")


def bomb(limit: int) -> str:
    return f"x = []\nwhile len(x) < {limit}: x.append(bytearray(os.urandom(1)) * (16 << 20))\n"


@pytest.mark.docker
def test_memory_is_capped_and_the_kill_is_seen(run: Callable[..., Run]) -> None:
    execution = run(DockerSandbox, bomb(1000)).execution
    assert execution.out_of_memory
    assert execution.signal == signal.SIGKILL


@pytest.mark.docker
def test_a_childs_memory_counts(run: Callable[..., Run]) -> None:
    execution = run(
        DockerSandbox, "if os.fork() == 0:\n    " + bomb(1000).replace("\n", "\n    ") + "\nos.wait()"
    ).execution
    assert execution.out_of_memory
    assert execution.exit_code == 0, "the parent ended well"


@pytest.mark.docker
def test_memory_and_time_are_measured(run: Callable[..., Run]) -> None:
    program = (
        bomb(6) + "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass\ntime.sleep(0.3)"
    )
    execution = run(DockerSandbox, program).execution
    assert execution.peak_memory_bytes is not None
    assert 96 << 20 <= execution.peak_memory_bytes <= 256 << 20
    assert execution.cpu_seconds is not None
    assert 0.5 <= execution.cpu_seconds < 5.0


def test_address_space_is_capped_without_an_engine(run: Callable[..., Run]) -> None:
    result = run(BubblewrapSandbox, "x = []\nwhile True: x.append(bytes(1 << 40))")
    assert result.execution.exit_code == 1
    assert "MemoryError" in result.log
    assert not result.execution.out_of_memory
    assert result.execution.peak_memory_bytes is None
    assert result.execution.cpu_seconds is not None


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "spawn",
    [
        "if os.fork() == 0: time.sleep(60)",
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    ],
    ids=["fork", "thread"],
)
def test_processes_and_threads_are_capped(level: Level, spawn: str, run: Callable[..., Run]) -> None:
    program = f"""
        import threading, time
        for count in range(1000):
            try:
                {spawn}
            except (OSError, RuntimeError):
                break
        print(count, flush=True)
        os._exit(0)
    """
    result = run(level, program)
    assert result.execution.exit_code == 0
    assert 8 <= int(result.log) <= 16


@pytest.mark.parametrize("level", LEVELS)
def test_tmp_is_bounded(level: Level, run: Callable[..., Run]) -> None:
    program = f"""
        chunk, total = bytes(4 << 20), 0
        try:
            for number in range(1000):
                with open(f'/tmp/{{number}}', 'wb') as file:
                    total += file.write(chunk)
        except OSError as error:
            print(total, error.errno)
        try:
            with open('/tmp/0', 'r+b') as file:
                file.truncate({FILE_BYTES + 1})
        except OSError as error:
            print(error.errno)
    """
    result = run(level, program, Limits(60.0, 512 << 20, 16, 1))
    total, out_of_space, too_large = (int(word) for word in result.log.split())
    assert 0 < total <= interior.TMP_BYTES
    assert out_of_space == 28
    assert too_large == 27


@pytest.mark.docker
def test_the_number_of_files_is_bounded(run: Callable[..., Run]) -> None:
    program = """
        try:
            for number in range(100_000):
                os.close(os.open(f'/tmp/{number}', os.O_CREAT))
        except OSError as error:
            print(number, error.errno)
    """
    count, errno = (int(word) for word in run(DockerSandbox, program).log.split())
    assert count <= interior.TMP_FILES
    assert errno == 28


@pytest.mark.parametrize("level", LEVELS)
def test_descriptors_are_bounded(level: Level, run: Callable[..., Run]) -> None:
    program = """
        try:
            while True:
                last = os.open('/dev/null', os.O_RDONLY)
        except OSError as error:
            print(last, error.errno)
    """
    last, errno = (int(word) for word in run(level, program).log.split())
    assert last < interior.OPEN_FILES
    assert errno == 24


@pytest.mark.parametrize("level", LEVELS)
def test_a_flood_of_output_stays_inside(
    level: Level, run: Callable[..., Run], capfd: pytest.CaptureFixture[str]
) -> None:
    flood = """
        import os
        os.write(1, b'\\x1b[31mBOOM\\n')
        for descriptor in (1, 2):
            for _ in range(20):
                os.write(descriptor, b'x' * (1 << 20))
        with open('/out/log', 'wb', buffering=0) as file:
            try:
                while True:
                    file.write(b'y' * (1 << 20))
            except OSError as error:
                os._exit(error.errno)
    """
    result = run(level, flood, logged=False)
    assert result.execution.exit_code == 27, "EFBIG"
    assert (result.folder / "log").stat().st_size == FILE_BYTES
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
