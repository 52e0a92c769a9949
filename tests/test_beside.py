"""A process beside a report gives the same bytes as the report's own, and its loss costs nothing but time."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness import beside
from harness.beside import Beside, Helper, Here, Later
from harness.csv_text import plain_columns, to_csv
from harness.records import Score
from harness.status import Status
from harness.testing.fake_bench import fake_score

LEVELS = ("0.3", "0.5", "0.7", "2:4")


def scores() -> list[Score]:
    """With what a name and a number can be: quotes, a lone surrogate, no finite value."""
    found = [
        fake_score(name, level, perplexity=20 + 10 * place, target=target)
        for target in ("one", "two")
        for name in ("wanda", 'say "$x$"\n', "\ud800 <b>")
        for place, level in enumerate(LEVELS)
    ]
    found.append(fake_score("endless", "0.5", perplexity=float("inf"), target="one"))
    return [*found, fake_score("broken", "0.5", status=Status.RUNTIME_ERROR, target="two")]


def frame() -> pd.DataFrame:
    names = pd.Categorical(["=cmd", None, 'a "b", c', "=cmd"])
    return pd.DataFrame({"name": names, "p, corrected": [0.1 + 0.2, np.nan, -1e-300, np.inf]})


def begun(helper: Helper) -> tuple[Later, Later, Later]:
    columns = plain_columns(frame())
    figure, table = helper.figure(scores(), "a 'study'"), helper.csv(list(frame().columns), columns)
    return figure, table, helper.figure([], "nothing")


@pytest.fixture
def helper() -> Iterator[Beside]:
    with Beside() as started:
        yield started


def test_the_bytes_are_those_of_this_process(helper: Beside) -> None:
    ours, theirs = begun(Here()), begun(helper)
    for number in (2, 0, 1):  # in any order
        assert theirs[number]() == ours[number]()
    assert ours[1]() == to_csv(frame()).encode()
    assert ours[0]().startswith(b"\x89PNG")


def test_it_is_the_process_that_answers(helper: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "_figure", None)
    assert all(len(later()) > 20 for later in begun(helper))


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_that_is_gone_is_done_without(helper: Beside, when: str) -> None:
    if when == "before":
        helper._child.kill()
        helper._child.wait()
    laters = begun(helper)
    laters[1]()
    helper._child.kill()
    assert [later() for later in laters] == [later() for later in begun(Here())]


def test_a_full_disk_is_done_without(helper: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        figure, table, _ = begun(helper)
    later = helper.csv(list(frame().columns), plain_columns(frame()))  # there is room again
    assert table() == later() == to_csv(frame()).encode()
    assert figure().startswith(b"\x89PNG")


def test_nothing_is_left_of_it() -> None:
    with pytest.raises(KeyboardInterrupt), Beside() as helper:
        begun(helper)
        raise KeyboardInterrupt
    assert helper._child.returncode == -signal.SIGKILL
    assert not Path(helper._folder.name).exists()


def test_it_ends_with_the_process_that_asks(tmp_path: Path) -> None:
    command = [sys.executable, "-c", beside._PROGRAM, str(tmp_path)]
    assert subprocess.run(command, input=b"", check=True, capture_output=True).stdout == b""


def test_a_report_leaves_what_draws_to_it() -> None:
    program = "import sys, harness.report, harness.cli.report; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
