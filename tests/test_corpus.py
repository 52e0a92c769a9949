"""Hostile and honest candidates on both levels of isolation, by the path that every pruner takes.

`tests/corpus/README.md` says how to add one.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from harness import console, metrics, pruners
from harness.bench import Bench
from harness.cli._output import print_scores
from harness.errors import ContentionFault
from harness.pipeline import open_bench
from harness.records import Execution, Limits, Mount, Pruner, Sandbox, Score, Sparsity
from harness.stages.score import window_losses
from sandbox.checkpoint import Checkpoint
from sandbox.layout import block_parameters, oriented
from sandbox.task import NOTE_CHARACTERS, NOTES
from tests.leftovers import MARK, Leftovers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at Linux processes and mounts")

CORPUS = Path(__file__).parent / "corpus"
TABLE = tomllib.loads((CORPUS / "expected.toml").read_text())
LEVELS = [pytest.param("docker", marks=pytest.mark.docker), "bubblewrap"]
HALF = Sparsity.parse("0.5")
CALM_SECONDS = 300.0
"""For candidates that end by themselves: on a busy machine, too, none of them is blamed for its time."""

Weights = Callable[[torch.Tensor], torch.Tensor]
BY_HAND: dict[str, Weights] = {
    "half": lambda dense: dense.where(dense.abs().argsort(1).argsort(1) >= dense.shape[1] // 2, 0.0),
    "half, doubled": lambda dense: 2 * BY_HAND["half"](dense),
    "nothing": torch.zeros_like,
}
"""What the weights of a layer must be in the end, from the dense ones."""


@dataclass(frozen=True)
class Case:
    """One line of expected.toml; README.md says what each key means."""

    name: str
    status: str
    bubblewrap: str | None = None
    message: str | None = None
    sparsities: tuple[str, ...] = ("0.5",)
    scored_as: str | None = None
    seconds: float = CALM_SECONDS
    memory_mib: int = 1024
    target: str = "llama"
    times: int = 1
    grow: tuple[str, int] | None = None
    xfail: str | None = None

    def on(self, level: str) -> str:
        return self.bubblewrap or self.status if level == "bubblewrap" else self.status

    def source(self) -> bytes:
        """The file; what is too large to keep is grown from its mark."""
        source = (CORPUS / f"{self.name}.py").read_bytes()
        if self.grow is None:
            return source
        piece, times = self.grow
        return source.replace(b"@@", bytes.fromhex(piece) * times)

    @property
    def limits(self) -> Limits:
        return Limits(timeout_seconds=self.seconds, memory_bytes=self.memory_mib << 20, processes=32, threads=1)


CASES = {
    f"{kind}/{name}": Case(f"{kind}/{name}", **line) for kind, lines in TABLE.items() for name, line in lines.items()
}


def parameters(cases: list[Case]) -> list[object]:
    marks = {case.name: [pytest.mark.xfail(strict=True, reason=case.xfail)] if case.xfail else [] for case in cases}
    return [pytest.param(case, id=case.name, marks=marks[case.name]) for case in cases]


@pytest.fixture(scope="module")
def no_leftovers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """After all runs nothing of them is on the machine."""
    temporary = tmp_path_factory.mktemp("tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(temporary))
        patch.setattr(tempfile, "tempdir", str(temporary))
        with Leftovers(temporary) as before:
            yield
            assert before.lasting() == []


@pytest.fixture(scope="module")
def listener() -> Iterator[None]:
    """A socket of the host with an abstract name, which network/abstract_socket calls."""
    with socket.socket(socket.AF_UNIX) as listening:
        try:
            listening.bind("\0corpus-of-pruners")
            listening.listen()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:  # another run of this suite listens there, which does as well
                raise
        yield


@pytest.fixture(scope="module")
def open_benches() -> dict[tuple[str, str, str], Bench]:
    return {}


@pytest.fixture
def bench(
    open_benches: dict[tuple[str, str, str], Bench],
    no_leftovers: None,
    listener: None,
    request: pytest.FixtureRequest,
    tokens: str,
) -> Callable[..., Bench]:
    """Benches by level and target, each opened once; the targets are random models of three small blocks."""

    def get(level: str, target: str = "llama", statistics: str = "sequential") -> Bench:
        key = (level, target, statistics)
        if key not in open_benches:
            folder = str(request.getfixturevalue(target))
            open_benches[key] = open_bench(
                folder, calibration=tokens, evaluation=tokens, sandbox=level, statistics=statistics
            )
            open_benches[key]._runs.close()  # nothing is to wait for a run that may never come
        return open_benches[key]

    return get


class Yielding:
    """A sandbox that lets go of a lock while its program runs: nothing else of the harness runs in two threads."""

    def __init__(self, sandbox: Sandbox, lock: threading.Lock) -> None:
        self.isolation, self.waits = sandbox.isolation, sandbox.waits
        self.warm, self.cool = sandbox.warm, sandbox.cool
        self._sandbox = sandbox
        self._lock = lock

    def execute(self, mounts: list[Mount], limits: Limits, file_bytes: int) -> Execution:
        self._lock.release()
        try:
            return self._sandbox.execute(mounts, limits, file_bytes)
        finally:
            self._lock.acquire()


Ran = dict[tuple[str, str], Future[list[Score]]]
"""What came of each case on each level."""


@pytest.fixture(scope="module")
def ran(
    request: pytest.FixtureRequest, no_leftovers: None, listener: None, tmp_path_factory: pytest.TempPathFactory
) -> Ran:
    """Runs all cases that are asked for, the two levels side by side, to their end: pytest changes the environment
    between tests, and no thread may read it then."""
    asked = [vars(item)["callspec"].params for item in request.session.items if "test_it_is_survived" in item.name]
    benches = {level: ThreadPoolExecutor(1) for level in dict.fromkeys(one["level"] for one in asked)}
    opened: dict[tuple[str, str], Bench] = {}
    folders = {name: str(request.getfixturevalue(name)) for name in ("llama", "opt")}
    tokens = request.getfixturevalue("tokens")

    lock = threading.Lock()

    def run(case: Case, level: str) -> list[Score]:
        with lock:
            if (level, case.target) not in opened:
                arguments = {"calibration": tokens, "evaluation": tokens, "sandbox": level}
                bench = open_bench(folders[case.target], **arguments)
                bench._runs.close()
                opened[level, case.target] = replace(bench, sandbox=Yielding(bench.sandbox, lock))
            return scores(opened[level, case.target], case, tmp_path_factory.mktemp("case"))

    futures = {(one["case"].name, one["level"]): benches[one["level"]].submit(run, **one) for one in asked}
    for executor in benches.values():
        executor.shutdown()
    return futures


def scores(bench: Bench, case: Case, folder: Path) -> list[Score]:
    """Of every run that the case asks for, by a file as a person would name it."""
    path = folder / f"{Path(case.name).name}.py"
    path.write_bytes(case.source())
    pruner = pruners.find(str(path))
    limited = replace(bench, limits=case.limits)

    def score(sparsity: Sparsity) -> Score:
        for _ in range(4):
            try:
                return limited.score(pruner, sparsity)
            except ContentionFault:  # nothing is said of the pruner: as a study does, it is run again
                time.sleep(5)
        return limited.score(pruner, sparsity)

    return [score(Sparsity.parse(text)) for text in case.sparsities for _ in range(case.times)]


# Every file, on both levels


def test_every_file_stands_in_the_table_and_says_what_it_tries() -> None:
    files = {f"{path.parent.name}/{path.stem}": path for path in CORPUS.glob("*/*.py")}
    assert sorted(files) == sorted(CASES)
    for name, path in files.items():
        first = path.read_bytes().splitlines()[0].decode()
        assert re.fullmatch(r'""".{10,}[.]"""|# .{10,}[.]', first), name


@pytest.mark.timeout(3600)  # all of them run in the fixture of the first
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("case", parameters(list(CASES.values())))
def test_it_is_survived_and_judged(
    case: Case,
    level: str,
    ran: Ran,
    bench: Callable[..., Bench],
    capsys: pytest.CaptureFixture[str],
) -> None:
    check(ran[case.name, level].result(), case, level, bench(level, case.target), capsys)


def check(found: list[Score], case: Case, level: str, used: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything that must hold of the scores of a case."""
    for score in found:
        assert score.status == case.on(level), score.error
        assert score.isolation == level
        check_words(score)
        if case.message is not None:
            assert score.error is not None
            assert re.search(case.message, score.error.message), score.error.message
        if score.status == "OK":
            check_measured(score)
        else:
            assert (score.perplexity, score.window_losses, score.zeros) == (None, None, None)
        if case.scored_as is not None:
            assert list(score.window_losses or ()) == losses_by_hand(used, case.scored_as), "bit for bit"
        check_shown(score, used, capsys)


def check_words(score: Score) -> None:
    """Every text that the candidate had a say in is bounded, and can be written down."""
    assert len(score.notes) <= NOTES
    assert all(len(note) <= NOTE_CHARACTERS for note in score.notes)
    if score.error is not None:
        assert len(score.error.message) <= 2000
        assert len(score.error.type) <= 200
        assert len(score.error.traceback or "") <= 8000
        assert score.outcome == ("NA" if score.status == "NA" else "Error")
    json.dumps(score.to_json(), allow_nan=False).encode()


def check_measured(score: Score) -> None:
    """A score is of zeros enough, of finite losses, and its times are possible."""
    assert score.achieved_sparsity is not None
    assert score.achieved_sparsity >= Sparsity.parse(score.sparsity).ratio - 0.01
    assert score.perplexity == metrics.perplexity(list(score.window_losses or ()))
    assert not score.quarantined
    assert score.sandbox_seconds is not None
    assert score.prune_seconds is None or 0 <= score.prune_seconds <= score.sandbox_seconds


def check_shown(score: Score, bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """A terminal shows no character of the candidate's that does more than stand there."""
    capsys.readouterr()
    print_scores([score], bench.measurement)
    shown = capsys.readouterr().out + console.plain(score.error.message if score.error else "")
    assert [c for c in shown if c != "\n" and unicodedata.category(c)[0] == "C"] == []


def losses_by_hand(bench: Bench, rule: str) -> list[float]:
    """Window losses of the dense model with the weights of `BY_HAND` put in their places, by the scorer alone."""
    layers = bench.target.layers
    dense = Checkpoint(bench.target.folder)

    def weights(block: int) -> dict[str, torch.Tensor]:
        return dict(block_parameters(layers, block, lambda index: BY_HAND[rule](dense.weight(layers[index]))))

    return window_losses(dense, bench.evaluation.ids, weights, "by hand")


@pytest.mark.parametrize("target", ["llama", "opt"])
@pytest.mark.parametrize("rule", BY_HAND)
def test_the_losses_by_hand_are_those_of_the_plain_model(target: str, rule: str, bench: Callable[..., Bench]) -> None:
    used = bench("bubblewrap", target)
    model = AutoModelForCausalLM.from_pretrained(used.target.folder, dtype=torch.float32)
    plain = []
    with torch.no_grad():
        for layer in used.target.layers:
            weight = model.get_parameter(layer.parameter)
            weight.copy_(oriented(BY_HAND[rule](oriented(weight, layer)), layer))
        for window in torch.from_numpy(used.evaluation.ids):
            plain.append(float(model(window[None], labels=window[None]).loss))
    np.testing.assert_allclose(losses_by_hand(used, rule), plain, rtol=1e-5)


# What the source looks like plays no part


HIDDEN = [
    "resources/null_dereference",
    "resources/forks_until_refused",
    "escapes/mounts",
    "network/tcp_udp",
    "sparsity/tiny",
    "output/pickled",
    "honest/suspicious_words",
]


def hidden(source: bytes) -> bytes:
    """The same program, of which no word can be read without running it."""
    return f"getattr(__import__('buil' 'tins'), 'ex' 'ec')(bytes.fromhex('{source.hex()}'), globals())\n".encode()


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_code_comes_to_the_same(name: str, bench: Callable[..., Bench]) -> None:
    case, used = CASES[name], bench("bubblewrap")
    score = replace(used, limits=case.limits).score(Pruner(name, "model", hidden(case.source())), HALF)
    assert score.status == case.on("bubblewrap"), score.error
    if case.scored_as is not None:
        assert list(score.window_losses or ()) == losses_by_hand(used, case.scored_as)
    if case.message is not None:
        assert score.error is not None
        assert re.search(case.message, score.error.message)


def test_what_is_computed_beforehand_for_a_word_changes_no_number(bench: Callable[..., Bench]) -> None:
    """The one place that reads a source looks for statistics to have ready; without the word, the run makes them."""
    source, used = CASES["honest/activations"].source(), bench("bubblewrap", statistics="dense")
    plain, other = (used.score(Pruner("any", "model", text), HALF) for text in (source, hidden(source)))
    assert (plain.status, other.status) == ("OK", "OK")
    assert plain.window_losses == other.window_losses


# The check of leftovers sees what there is to see


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a process of another user")
def test_leftovers_are_seen(no_leftovers: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.leftovers._PATIENCE_SECONDS", 0.5)
    (tmp_path / "own").mkdir()
    mark = Path("/dev/shm", f"{MARK}-seen")
    with Leftovers(tmp_path / "own") as before:
        (tmp_path / "own" / "file").touch()
        mark.touch()
        orphan = subprocess.Popen(["sleep", "60"], user=20_001, group=20_001, extra_groups=[])
        try:
            found = before.lasting()
        finally:
            mark.unlink()
            orphan.kill()
            orphan.wait()
    files = [f"file {path}" for path in (mark, tmp_path / "own" / "file")]
    assert sorted(found) == sorted([*files, f"process {orphan.pid} 20001 sleep 60 "])
