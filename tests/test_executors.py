"""A study on processes, on Ray and on jobs of submitit: the same table as in one process, whatever is lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness import pruners
from harness.cli import cli
from harness.errors import CanaryFault, InputFault, SandboxFault, UsageError
from harness.executors import Executor, Options, open_executor, processes
from harness.executors.processes import ProcessesExecutor
from harness.executors.ray import RayExecutor
from harness.executors.slurm import SlurmExecutor
from harness.executors.tasks import Setup, Task, cut
from harness.planning import plan
from harness.records import Pruner, Score, Sparsity
from harness.status import Status
from harness.store import Cell, Store
from harness.study import Study, parse
from harness.study_run import Tally, run
from harness.testing.fake_bench import FakeBench, FakeLab, fake_pruner

TEXT = """
name = "small"
targets = ["testbed-llama", "testbed-opt"]
sparsities = [0.5, "2:4", "rows:0.5"]
pruners = ["magnitude", "wanda", "random", "bias", "sample/l1/01", "sample/k-means/01"]
"""
STATUSES = {"bias": Status.NA, "sample/l1/01": Status.SPARSITY_MISSED, "sample/k-means/01": Status.NO_CODE}
CELLS = 36
EXECUTORS: dict[str, Callable[[Path], Executor]] = {
    "processes": lambda folder: ProcessesExecutor(2),
    "submitit": lambda folder: SlurmExecutor(folder, 2, cluster="local"),
    "ray": lambda folder: RayExecutor(2, threads=1),
}
EACH = pytest.mark.parametrize(
    "make",
    [
        pytest.param(EXECUTORS["processes"], id="processes"),
        *(
            pytest.param(
                EXECUTORS[name],
                id=name,
                marks=pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed"),
            )
            for name in ("submitit", "ray")
        ),
    ],
)


@dataclass
class Lab(FakeLab):
    """Its benches write down what they do, whichever process they are in, and let that die where they are told to."""

    log: Path = Path()
    deaths: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """By (target, sparsity, pruner): how often the process that is at it dies."""
    unfit: str | None = None
    """A sparsity that fits no target."""
    own_weights: bool = False
    """Whether each process sees other weights."""

    def open_bench(self, target: str, **options: Any) -> FakeBench:
        super().open_bench(target, **options)
        note(self.log, "open", target, os.environ.get("CUDA_VISIBLE_DEVICES", ""))
        return LabBench(self, target, options)


class LabBench(FakeBench):
    def __init__(self, lab: Lab, target: str, options: dict[str, Any]) -> None:
        super().__init__(lab, target, options)
        self.lab = lab
        if lab.own_weights:
            object.__setattr__(self.measurement, "weights_sha256", str(os.getpid()))

    def check_sparsity(self, sparsity: Sparsity) -> None:
        if sparsity.label == self.lab.unfit:
            raise UsageError(f"sparsity {sparsity.label}: no heads here")

    def score(self, pruner: Pruner, sparsity: Sparsity, **asked: Any) -> Score:
        cell = (self.measurement.target, sparsity.label, pruner.name)
        note(self.lab.log, "score", *cell)
        if noted(self.lab.log, "score", *cell) <= self.lab.deaths.get(cell, 0):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().score(pruner, sparsity, **asked)


def note(log: Path, *words: str) -> None:
    with log.open("a") as file:
        file.write(" ".join((str(os.getpid()), *words)) + "\n")


def noted(log: Path, *words: str) -> int:
    """How often all processes together have noted this."""
    return sum(line.split(" ")[1:] == list(words) for line in log.read_text().splitlines())


def scored(log: Path) -> Counter[tuple[str, ...]]:
    """How often each cell was begun."""
    lines = [line.split(" ") for line in log.read_text().splitlines()]
    return Counter(tuple(words[2:]) for words in lines if words[1] == "score")


@pytest.fixture(autouse=True)
def known_pruners(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known in this process alone: a worker that looked for one would find none."""
    monkeypatch.setattr(pruners, "find", lambda name: fake_pruner(name, STATUSES.get(name, Status.OK)))


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    (tmp_path / "log").touch()
    return Lab(log=tmp_path / "log")


def study(text: str = TEXT) -> Study:
    return parse(text, "small.toml")


def ran(folder: Path, lab: Lab, executor: Executor | None = None, text: str = TEXT) -> tuple[Tally, Any]:
    """Run the study on `executor`, and give everything that is then on file."""
    with Store(folder / "results.sqlite") as store:
        tally = run(study(text), store, lab.open_bench, executor=executor)
        losses = [store.dense_losses(target) for target in ("testbed-llama", "testbed-opt")]
        return tally, (store.scores(), store.zeros(), store.measurements(), losses, store.faults())


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What is on file after a run in this process."""
    folder = tmp_path_factory.mktemp("local")
    (folder / "log").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pruners, "find", lambda name: fake_pruner(name, STATUSES.get(name, Status.OK)))
        tally, found = ran(folder, Lab(log=folder / "log"))
    assert (tally.scored, tally.faults) == (CELLS, 0)
    assert {score.repeatable for score in found[0]} == {None, True, False}
    return found


@EACH
def test_the_table_is_that_of_one_process(
    make: Callable[[Path], Executor], tmp_path: Path, lab: Lab, table: Any
) -> None:
    tally, found = ran(tmp_path, lab, make(tmp_path))
    assert tally.scored == CELLS
    assert found == table
    assert set(scored(lab.log).values()) == {1}
    assert len(scored(lab.log)) == CELLS
    workers = [line.split(" ") for line in lab.log.read_text().splitlines()]
    assert str(os.getpid()) not in {words[0] for words in workers}
    opened = Counter((words[0], words[2]) for words in workers if words[1] == "open")
    assert set(opened.values()) == {1}, "a worker opens each target once"
    assert not list(tmp_path.glob("jobs-*"))


@EACH
def test_a_lost_worker_costs_nothing(make: Callable[[Path], Executor], tmp_path: Path, lab: Lab, table: Any) -> None:
    cell = ("testbed-llama", "2:4", "wanda")
    lab.deaths[cell] = 1
    tally, found = ran(tmp_path, lab, make(tmp_path))
    assert (tally.scored, tally.faults) == (CELLS, 0)
    assert found == table
    assert scored(lab.log) == Counter({other.key: 1 + (other.key == cell) for other in plan(study())})


@EACH
def test_a_cell_that_takes_every_worker_along_is_a_fault_and_no_other_is(
    make: Callable[[Path], Executor], tmp_path: Path, lab: Lab, table: Any
) -> None:
    cell = ("testbed-opt", "0.5", "random")
    lab.deaths[cell] = 3
    tally, found = ran(tmp_path, lab, make(tmp_path))
    assert (tally.scored, tally.faults) == (CELLS - 1, 1)
    (fault,) = found[4]
    assert ((fault.target, fault.sparsity, fault.pruner), fault.status) == (cell, "INFRA_SANDBOX")
    assert fault.message.startswith("its worker was lost 3 times: ")
    assert scored(lab.log)[cell] == 3
    again, found = ran(tmp_path, lab, make(tmp_path))
    assert (again.scored, again.faults) == (CELLS, 0)
    marks = [score.repeatable for score in found[0] if score.pruner == "random"]
    assert marks.count(False) == 2, "once on each target, now at another sparsity"


@EACH
def test_faults_in_workers_are_recorded_apart_and_tried_again(
    make: Callable[[Path], Executor], tmp_path: Path, lab: Lab, table: Any
) -> None:
    lab.errors[("wanda", "rows:0.5")] = [SandboxFault("no engine"), SandboxFault("none")]
    lab.open_errors["testbed-opt"] = [InputFault("no such weights")] * 99
    tally, found = ran(tmp_path, lab, make(tmp_path))
    assert tally.faults == 1 + CELLS // 2
    status = {(fault.target, fault.pruner, fault.sparsity): fault.status for fault in found[4]}
    assert status.pop(("testbed-llama", "wanda", "rows:0.5")) == "INFRA_SANDBOX"
    assert {target for target, _, _ in status} == {"testbed-opt"}
    assert set(status.values()) == {"INFRA_INPUT"}
    lab.errors.clear()
    lab.open_errors.clear()
    assert ran(tmp_path, lab, make(tmp_path))[1] == table


class Interrupted(Store):
    """Ctrl-C comes while the sixth score is filed."""

    def add_score(self, cell: Cell, score: Score, environment: str | None = None) -> None:
        if len(self.scores()) == 5:
            raise KeyboardInterrupt
        super().add_score(cell, score, environment)


@EACH
def test_an_interrupted_run_leaves_no_worker_and_goes_on(
    make: Callable[[Path], Executor], tmp_path: Path, lab: Lab, table: Any
) -> None:
    with Interrupted(tmp_path / "results.sqlite") as store:
        with pytest.raises(KeyboardInterrupt):
            run(study(), store, lab.open_bench, executor=make(tmp_path))
        done = {(score.target, score.sparsity, score.pruner) for score in store.scores()}
    assert len(done) == 5
    assert_gone(lab.log)
    before = scored(lab.log)
    assert ran(tmp_path, lab, make(tmp_path))[1] == table
    assert all(scored(lab.log)[cell] == before[cell] for cell in done), "what is on file does not run again"


def assert_gone(log: Path) -> None:
    """All processes that have noted something have ended, or do so shortly."""
    pids = {int(line.split(" ")[0]) for line in log.read_text().splitlines()} - {os.getpid()}
    assert pids
    until = time.monotonic() + 120
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


DRIVER = """
import sys
from pathlib import Path
from harness import pruners
from harness.executors.processes import ProcessesExecutor
from harness.store import Store
from harness.study import parse
from harness.study_run import run
from harness.testing.fake_bench import fake_pruner
from tests.test_executors import Lab, TEXT
pruners.find = fake_pruner
folder = Path(sys.argv[1])
lab = Lab(log=folder / "log", pause_seconds=0.3)
try:
    with Store(folder / "results.sqlite") as store:
        run(parse(TEXT, "a test"), store, lab.open_bench, executor=ProcessesExecutor(2))
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_workers_end_with_a_driver_that_is_stopped_or_killed(
    number: signal.Signals, code: int, tmp_path: Path, lab: Lab
) -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, tmp_path], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert driver.stderr is not None
    said = [driver.stderr.readline() for _ in range(3)]
    if number == signal.SIGINT:
        os.killpg(driver.pid, number)  # as a terminal does: workers get it, too
    else:
        driver.kill()
    rest = driver.stderr.read()
    assert driver.wait() == code, (said, rest)
    driver.stderr.close()
    assert "Traceback" not in rest
    assert_gone(lab.log)
    with Store(tmp_path / "results.sqlite") as store:
        assert 3 <= len(store.scores()) < CELLS


@EACH
def test_what_a_worker_says_about_the_study_ends_the_run(
    make: Callable[[Path], Executor], tmp_path: Path, lab: Lab
) -> None:
    lab.unfit = "rows:0.5"
    with pytest.raises(UsageError, match=r"^sparsity rows:0.5: no heads here$"):
        ran(tmp_path, lab, make(tmp_path))
    assert_gone(lab.log)
    assert not scored(lab.log)
    assert not multiprocessing.active_children()


def test_two_workers_that_see_other_weights_end_the_run(tmp_path: Path, lab: Lab) -> None:
    lab.own_weights = True
    lab.deaths[("testbed-llama", "0.5", "magnitude")] = 1
    with pytest.raises(UsageError, match="is not the same for two workers: its weights are others"):
        ran(tmp_path, lab, ProcessesExecutor(1))


def test_a_canary_that_is_off_sets_aside_its_own_batch_alone(tmp_path: Path, lab: Lab) -> None:
    off = CanaryFault("the zeros are others")
    lab.canaries = [None, off, off]  # before the first of four batches a target, and after it, twice
    _, found = ran(tmp_path, lab, ProcessesExecutor(1))
    assert {(fault.target, fault.pruner, fault.status) for fault in found[4]} == {
        ("testbed-llama", "magnitude", "INFRA_CANARY")
    }
    assert len(found[0]) == CELLS - 3


def test_each_worker_has_one_gpu(tmp_path: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-7f")
    lab.deaths[("testbed-llama", "0.5", "magnitude")] = 1  # so that a place is filled twice
    ran(tmp_path, lab, ProcessesExecutor(), TEXT + 'device = "cuda"\n')
    seen = [line.split(" ") for line in lab.log.read_text().splitlines()]
    assert {words[3] for words in seen if words[1] == "open"} <= {"4", "GPU-7f"}
    with pytest.raises(UsageError, match="--workers 3: each takes a GPU, and there are 2"):
        list(ProcessesExecutor(3).run(Setup({"device": "cuda"}), [], lambda _: False))


def test_gpus_are_those_of_the_driver_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert processes._gpus() == []
    with pytest.raises(InputFault, match="lists no GPU"):
        list(ProcessesExecutor(2).run(Setup({"device": "cuda"}), [], lambda _: False))
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 0\necho 1\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert processes._gpus() == ["0", "1"]


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 99])
def test_cells_of_a_pruner_stay_together(parts: int) -> None:
    cells = [(cell, fake_pruner(cell.pruner)) for cell in plan(study()) if cell.target == "testbed-opt"]
    shares = cut(Task("testbed-opt", tuple(cells)), parts)
    assert len(shares) == min(parts, 6)
    assert sorted(pair[0].key for share in shares for pair in share.cells) == sorted(pair[0].key for pair in cells)
    names = [{cell.pruner for cell, _ in share.cells} for share in shares]
    assert sum(map(len, names)) == 6
    assert max(map(len, names)) - min(map(len, names)) <= 1
    for share in shares:
        assert [pair for pair in cells if pair in share.cells] == list(share.cells)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--workers", "2"), "--executor local is one process"),
        (("--executor", "processes"), "give --workers, or --cpus-per-task"),
        (("--executor", "processes", "--workers", "2", "--ray-address", "auto"), "belongs to --executor ray"),
        (("--executor", "ray", "--cluster", "local"), "belong to --executor submitit"),
        (("--slurm-partition", "gpu"), "belong to --executor submitit"),
        (("--executor", "submitit", "--slurm-option", "time"), "give KEY=VALUE"),
        (("--executor", "submitit", "--slurm-option", "--time=1"), "give KEY=VALUE"),
    ],
)
def test_options_that_do_not_fit_are_one_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(TEXT)
    error = CliRunner().invoke(cli, ("study", "run", "small.toml", *arguments)).exception
    assert isinstance(error, UsageError)
    assert message in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(("name", "package", "extra"), [("ray", "ray", "ray"), ("submitit", "submitit", "slurm")])
def test_a_missing_package_is_one_line(
    name: str, package: str, extra: str, tmp_path: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"pip install '\.\[{extra}\]'"):
        ran(tmp_path, lab, open_executor(name, Options(tmp_path)))


SLURM = {
    "sbatch": """
        n=$(($(ls "$SPOOL" | grep -c script) + 1))
        cp "$1" "$SPOOL/script-$n"
        SLURM_JOB_ID=$n setsid bash "$1" > /dev/null 2>&1 &
        echo "Submitted batch job $n"
    """,
    "srun": """
        while [ "$1" != "${1#--}" ]; do case "$1" in
            --output) out=$(echo "$2" | sed "s/%j/$SLURM_JOB_ID/g; s/%t/0/g"); shift 2;;
            --error) err=$(echo "$2" | sed "s/%j/$SLURM_JOB_ID/g; s/%t/0/g"); shift 2;;
            *) shift;;
        esac; done
        mkdir -p "$(dirname "$out")"
        exec "$@" > "$out" 2> "$err"
    """,
    "sacct": "echo 'JobID|State|NodeList'",
    "scancel": "true",
}
"""Programs that stand in for Slurm's, of which no part can run without its services."""


@pytest.mark.skipif(find_spec("submitit") is None, reason="submitit is not installed")
def test_slurm_is_asked_for_what_a_task_needs(
    tmp_path: Path, lab: Lab, table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, script in SLURM.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "spool").mkdir()
    monkeypatch.setenv("SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    options = Options(tmp_path / "results", 3, 2, None, None, {"partition": "short", "time": "4:00:00"})
    tally, found = ran(tmp_path, lab, open_executor("submitit", options), TEXT + 'memory = "3 GiB"\n')
    assert tally.scored == CELLS
    assert found == table
    scripts = list((tmp_path / "spool").iterdir())
    assert len(scripts) == 3 * 2
    asked = {line for line in scripts[0].read_text().splitlines() if line.startswith("#SBATCH")}
    wanted = {"partition=short", "time=4:00:00", "cpus-per-task=2", "mem=6GB", "gpus-per-node=0", "job-name=harness"}
    assert {f"#SBATCH --{option}" for option in wanted} <= asked
