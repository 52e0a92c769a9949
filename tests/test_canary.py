"""Canaries before and after a batch, and second runs: what is off is noticed, and nothing off is ranked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness import pruners
from harness.bench import Bench
from harness.errors import CanaryFault, SandboxFault
from harness.records import Execution, Limits, Mount, Sparsity
from harness.stages.leaderboard import leaderboard
from harness.store import Store
from harness.study import parse
from harness.study_run import run
from harness.testing.fake_bench import FakeLab
from tests.conftest import pruner
from tests.forked_sandbox import ForkedSandbox

HALF = Sparsity.parse("0.5")
STUDY = """
name = "small"
targets = ["one", "two"]
sparsities = [0.5, 0.6]
pruners = ["magnitude", "random"]
"""


class Tampering(ForkedSandbox):
    """Changes what a run gives."""

    def __init__(self, tamper: Callable[[Path, Path], None], code: int | None = None) -> None:
        self._tamper = tamper
        self._code = code

    def execute(self, mounts: list[Mount], limits: Limits, file_bytes: int) -> Execution:
        execution = super().execute(mounts, limits, file_bytes)
        outputs = {mount.target: mount.source for mount in mounts}
        self._tamper(outputs["/out/weights"], outputs["/out/report.json"])
        return execution if self._code is None else replace(execution, exit_code=self._code)


def test_they_are_right_on_a_sound_machine(llama_bench: Bench, opt_bench: Bench) -> None:
    for bench in (llama_bench, opt_bench, replace(llama_bench, dtype="bfloat16")):
        bench.check_canaries()


def flipped(weights: Path, _report: Path) -> None:
    content = bytearray(weights.read_bytes())
    content[0] ^= 0b1100_0000  # two neighbours change places: the sparsity stays
    weights.write_bytes(content)


def without_line(_weights: Path, report: Path) -> None:
    report.write_text(report.read_text().replace('"line": 3', '"line": 4'))


@pytest.mark.parametrize(
    ("sandbox", "said"),
    [
        (Tampering(flipped), "the zeros that came out are not those"),
        (Tampering(without_line), "a pruner that divides by zero in line 3 came back as"),
        (Tampering(lambda *_: None, code=0), "a pruner that divides by zero in line 3 came back as"),
        (Tampering(lambda *_: None, code=10), "a pruner that must work came back as EXITED"),
    ],
)
def test_a_sandbox_that_changes_results_is_noticed(llama_bench: Bench, sandbox: ForkedSandbox, said: str) -> None:
    with pytest.raises(CanaryFault, match=said):
        replace(llama_bench, sandbox=sandbox).check_canaries()


def test_a_scorer_that_is_off_is_noticed(llama_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = replace(llama_bench).dense_losses
    monkeypatch.setattr("harness.bench.remembered", lambda *_: [loss + 0.01 for loss in losses])
    with pytest.raises(CanaryFault, match="the dense model's first window has loss"):
        replace(llama_bench).check_canaries()


# In a study


def test_a_batch_before_which_one_is_off_does_not_run(tmp_path: Path) -> None:
    lab = FakeLab(canaries=[CanaryFault("it sings another song")])
    with Store(tmp_path / "results.sqlite") as store:
        assert run(parse(STUDY, "small.toml"), store, lab.open_bench).scored == 4
        assert {(fault.target, fault.status) for fault in store.faults()} == {("one", "INFRA_CANARY")}
        assert {target for target, _, _ in lab.scored} == {"two"}
        final = run(parse(STUDY, "small.toml"), store, lab.open_bench)
        assert (final.scored, final.faults) == (8, 0)


def test_a_batch_after_which_one_is_off_is_measured_again(tmp_path: Path) -> None:
    off = CanaryFault("it sings another song")
    lab = FakeLab(canaries=[None, off, None, None, off, off])
    with Store(tmp_path / "results.sqlite") as store:
        run(parse(STUDY, "small.toml"), store, lab.open_bench)
        assert {score.target for score in store.scores()} == {"one"}
        assert all("measured again" in fault.message for fault in store.faults())
        assert {fault.target for fault in store.faults()} == {"two"}
        assert {key[0] for key in store.zeros()} == {"one"}
        before = store.scores()
        final = run(parse(STUDY, "small.toml"), store, lab.open_bench)
        assert (final.scored, final.faults) == (8, 0)
        assert store.scores()[:4] == before
        assert [target for target, _, _ in lab.scored] == ["one"] * 4 + ["two"] * 8


def test_an_engine_that_is_gone_after_the_batch_takes_nothing_away(tmp_path: Path) -> None:
    lab = FakeLab(canaries=[None, SandboxFault("no engine answers")])
    with Store(tmp_path / "results.sqlite") as store:
        assert run(parse(STUDY, "small.toml"), store, lab.open_bench).scored == 8


# Second runs

UNSEEDED = """
import os
def prune(task):
    for layer in task.layers():
        layer.weight[:, ::2] = 0
        layer.weight[0, os.urandom(1)[0] % 8 * 2 + 1] = 0
"""
VALUES = """
import os
def prune(task):
    for layer in task.layers():
        layer.weight[:, ::2] = 0
        layer.weight[0, 1] = 1 + os.urandom(1)[0]
"""


def test_a_second_run_tells_whether_the_seed_decides(llama_bench: Bench) -> None:
    assert llama_bench.score(pruners.find("magnitude"), HALF).repeatable is None
    for name in ("magnitude", "random", "sparsegpt"):
        assert llama_bench.score(pruners.find(name), HALF, again=True).repeatable is True
    scores = [llama_bench.score(pruner(source), HALF, again=True) for source in (UNSEEDED, VALUES)]
    assert [(score.status, score.repeatable) for score in scores] == [("OK", False)] * 2
    assert leaderboard(scores, rank_isolation="any")["notes"].str.contains("nondeterministic").all()


def test_what_fails_is_not_run_again(llama_bench: Bench) -> None:
    assert llama_bench.score(pruner("def prune(task): 1 / 0"), HALF, again=True).repeatable is None


def test_a_study_runs_each_pruner_twice_once(tmp_path: Path) -> None:
    for repeat, expected in (("", {"magnitude": [True], "random": [False]}), ("repeat = false", {})):
        with Store(tmp_path / f"{len(repeat)}.sqlite") as store:
            run(parse(STUDY + repeat, "small.toml"), store, FakeLab().open_bench)
            found: dict[str, list[bool]] = {}
            for score in store.scores():
                if score.target == "one" and score.repeatable is not None:
                    found.setdefault(score.pruner, []).append(score.repeatable)
            assert found == expected
