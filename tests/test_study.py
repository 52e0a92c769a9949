"""Study files, their plans, and runs that are interrupted, killed, faulted and resumed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import pruners
from harness.errors import InputFault, SandboxFault, StorageFault, UsageError
from harness.planning import plan
from harness.recorded import default_results, results_file
from harness.records import Pruner
from harness.status import Status
from harness.store import Cell, Store
from harness.study import Study, load, parse
from harness.study_run import run
from harness.testing.fake_bench import FakeLab, fake_pruner

TEXT = """
name = "small"
targets = ["testbed-llama", "testbed-opt"]
sparsities = [0.5, "2:4"]
pruners = ["magnitude", "wanda", "sample/*"]
seqlen = 64
timeout = 60
memory = "2 GiB"
"""
ARCHIVE = [
    fake_pruner("sample/random-pruning/01"),
    fake_pruner("sample/l1-norm-pruning/01", Status.RUNTIME_ERROR),
    fake_pruner("sample/k-means/01", Status.NO_CODE),
    fake_pruner("o1/l1-norm-pruning/01"),
]
REFERENCES = ("magnitude", "wanda", "bias")


@pytest.fixture(autouse=True)
def archive(monkeypatch: pytest.MonkeyPatch) -> list[Pruner]:
    """The pruners that this test has: a copy, to be changed at will."""
    candidates = list(ARCHIVE)

    def find(name: str) -> Pruner:
        known = {pruner.name: pruner for pruner in [*candidates, *map(fake_pruner, REFERENCES)]}
        if name not in known:
            raise UsageError(f"no pruner {name!r}")
        return known[name]

    monkeypatch.setattr(pruners, "find", find)
    monkeypatch.setattr(pruners, "candidates", lambda: [pruner.name for pruner in candidates])
    return candidates


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results.sqlite")


def study(text: str = TEXT, **changes: str) -> Study:
    for key, value in changes.items():
        lines = [line for line in text.splitlines() if not line.startswith(f"{key} =")]
        text = "\n".join([*lines, f"{key} = {value}"])
    return parse(text, "small.toml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sparsitys": "[0.5]"}, r"unknown key 'sparsitys'\. Did you mean 'sparsities'"),
        ({"colour": "1"}, r"unknown key 'colour'\. The keys are name, targets"),
        ({"sparsities": "[1.5]"}, r"'sparsities' is wrong: sparsity '1.5': .*below 1; write sparsities = \[0.5"),
        ({"sparsities": '["4:2"]'}, r"'sparsities' is wrong: .*2:4"),
        ({"sparsities": "[0.5, 0.50]"}, r"'sparsities' is wrong: '0.5' stands in it twice"),
        ({"sparsities": "[true]"}, r"'sparsities' is wrong"),
        ({"sparsities": "0.5"}, r"'sparsities' is wrong: .*list.*; write sparsities = \["),
        ({"targets": "[]"}, r"'targets' is wrong: .*at least 1.*; write targets = \["),
        ({"pruners": '"magnitude"'}, r"'pruners' is wrong: .*list.*; write pruners = \["),
        ({"seqlen": '"64"'}, r"'seqlen' is wrong: .*integer.*; write seqlen = 256"),
        ({"seqlen": "1"}, r"'seqlen' is wrong: .*greater than or equal to 2"),
        ({"timeout": "0"}, r"'timeout' is wrong: .*greater than or equal to 1"),
        ({"timeout": "inf"}, r"'timeout' is wrong: .*finite"),
        ({"memory": '"much"'}, r"'memory' is wrong: 'much' is no size; write memory = \"4 GiB\""),
        ({"sandbox": '"none"'}, r"'sandbox' is wrong: .*'auto', 'docker' or 'bubblewrap'"),
        ({"statistics": '"both"'}, r"'statistics' is wrong: .*'sequential' or 'dense'"),
        ({"rank_isolation": '"all"'}, r"'rank_isolation' is wrong: .*'docker' or 'any'"),
        ({"name": '"../evil"'}, r"'name' is wrong: .*; write name = \"my-study\""),
        ({"seed": "-1"}, r"'seed' is wrong"),
        ({"eval_windows": "0", "seqlen": "0"}, r"\(and 1 more\)"),
    ],
)
def test_a_wrong_key_is_named_in_one_line(changes: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        study(**changes)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("small.toml: ")


def test_a_missing_key_and_bad_toml_are_named_in_one_line() -> None:
    with pytest.raises(UsageError, match=r"'targets' is missing; write targets = \["):
        parse('name = "x"\nsparsities = [0.5]\npruners = ["a"]', "x.toml")
    with pytest.raises(UsageError, match=r"x.toml: not valid TOML: .*line 2"):
        parse('name = "x"\ntargets = [oops]', "x.toml")


def test_values_are_understood() -> None:
    read = study()
    assert read.sparsities == ["0.5", "2:4"]
    assert (read.memory, read.timeout, read.calibration, read.sandbox) == (2 << 30, 60, "bundled", "auto")
    assert study(memory='"512M"').memory == 512 << 20
    assert study(memory="268435456").memory == 256 << 20


def test_plan_is_target_by_target_in_the_files_order_and_globs_are_sorted(archive: list[Pruner]) -> None:
    cells = plan(study())
    names = ["magnitude", "wanda", "sample/k-means/01", "sample/l1-norm-pruning/01", "sample/random-pruning/01"]
    assert [cell.key for cell in cells] == [
        (target, sparsity, name)
        for target in ("testbed-llama", "testbed-opt")
        for sparsity in ("0.5", "2:4")
        for name in names
    ]
    archive.reverse()
    assert plan(study()) == cells
    assert {cell.pruner for cell in cells if cell.source_sha256 is None} == {"sample/k-means/01"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('["none"]', "no pruner 'none'"),
        ('["none/*"]', "'none/.', but no archived"),
        ('["wanda", "o1/*", "o1/l1-norm-pruning/01"]', "names 'o1/l1-norm-pruning/01' twice"),
    ],
)
def test_pruners_that_do_not_fit_are_refused(entry: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan(study(pruners=entry))


def test_a_run_scores_every_cell_once_and_opens_each_target_once(store: Store) -> None:
    lab = FakeLab()
    tally = run(study(), store, lab.open_bench)
    assert (tally.planned, tally.scored, tally.faults) == (20, 20, 0)
    assert [target for target, _ in lab.opened] == ["testbed-llama", "testbed-opt"]
    assert lab.opened[0][1] == {
        "sandbox": "auto",
        "runtime": None,
        "calibration": "bundled",
        "calibration_samples": None,
        "evaluation": "bundled",
        "eval_windows": None,
        "seqlen": 64,
        "statistics": "sequential",
        "dtype": "float32",
        "device": "cpu",
        "rounds": 1,
        "timeout_seconds": 60,
        "memory_bytes": 2 << 30,
        "seed": 0,
        "kl": False,
        "text": None,
        "text_tokens": 20,
    }
    assert [(score.target, score.sparsity, score.pruner) for score in store.scores()] == [
        cell.key for cell in plan(study())
    ]
    assert {score.status for score in store.scores() if score.pruner == "sample/k-means/01"} == {"NO_CODE"}
    assert set(store.measurements()) == {"testbed-llama", "testbed-opt"}

    run(study(), store, lab.open_bench)
    assert len(lab.scored) == 20
    assert len(lab.opened) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a bug of ours")])
def test_a_run_goes_on_where_an_exception_stopped_it(store: Store, error: BaseException) -> None:
    lab = FakeLab(errors={("wanda", "2:4"): [error]})
    with pytest.raises(type(error)):
        run(study(), store, lab.open_bench)
    assert len(store.scores()) == 6
    assert run(study(), store, lab.open_bench).scored == 20
    assert len(lab.scored) == 21
    assert lab.scored[6] == lab.scored[7] == ("testbed-llama", "2:4", "wanda")


def test_faults_are_recorded_apart_and_tried_again(store: Store) -> None:
    lab = FakeLab(errors={("wanda", "0.5"): [SandboxFault("no engine"), SandboxFault("still none")]})
    assert run(study(targets='["testbed-llama"]'), store, lab.open_bench).faults == 1
    assert len(store.scores()) == 9
    assert run(study(targets='["testbed-llama"]'), store, lab.open_bench).faults == 1
    assert [(fault.pruner, fault.message, fault.attempts) for fault in store.faults()] == [("wanda", "still none", 2)]
    final = run(study(targets='["testbed-llama"]'), store, lab.open_bench)
    assert (final.scored, final.faults) == (10, 0)
    assert len(lab.scored) == 12


def test_a_target_that_cannot_be_opened_is_a_fault_of_its_cells_alone(store: Store) -> None:
    lab = FakeLab(open_errors={"testbed-llama": [InputFault("no such weights")]})
    tally = run(study(), store, lab.open_bench)
    assert (tally.scored, tally.faults) == (10, 10)
    assert {(fault.target, fault.status) for fault in store.faults()} == {("testbed-llama", "INFRA_INPUT")}
    assert run(study(), store, lab.open_bench).faults == 0


def test_a_full_results_file_stops_the_run(store: Store) -> None:
    run(study(), store, FakeLab(open_errors={t: [InputFault("x")] for t in study().targets}).open_bench)
    pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
    store.connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    lab = FakeLab()
    with pytest.raises(StorageFault, match="disk is full"):
        run(study(), store, lab.open_bench)
    assert 0 < len(lab.scored) < 20


KILLED = """
import sys
from pathlib import Path
from harness import pruners
from harness.store import Store
from harness.study import parse
from harness.study_run import run
from harness.testing.fake_bench import FakeLab, fake_pruner
pruners.find = fake_pruner
text = Path(sys.argv[1]).read_text()
lab = FakeLab(pause_seconds=float(sys.argv[3]))
with Store(Path(sys.argv[2])) as store:
    run(parse(text, "many.toml"), store, lab.open_bench)
print(len(lab.scored))
"""


def test_a_killed_run_goes_on_and_doubles_nothing(tmp_path: Path) -> None:
    toml, file = tmp_path / "many.toml", tmp_path / "results.sqlite"
    names = [f"pruner-{i}" for i in range(30)]
    toml.write_text(f'name = "many"\ntargets = ["t"]\nsparsities = [0.5]\npruners = {names}\n')
    child = subprocess.Popen([sys.executable, "-c", KILLED, toml, file, "0.02"], stderr=subprocess.PIPE)
    assert child.stderr is not None
    for _ in range(5):
        child.stderr.readline()
    time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stderr.close()
    with Store(file) as store:
        done = len(store.scores())
    assert 5 <= done < 30
    again = subprocess.run([sys.executable, "-c", KILLED, toml, file, "0"], capture_output=True, text=True, check=True)
    assert int(again.stdout) == 30 - done
    with Store(file) as store:
        assert [score.pruner for score in store.scores()] == names


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seqlen": "128"}, "has results with another seqlen: give it another name, or --results"),
        ({"memory": '"1 GiB"', "seed": "1"}, "another memory, seed|another seed, memory"),
        ({"name": '"other"'}, "holds the study 'small'"),
        ({"pruners": '["magnitude", "sample/*"]'}, "wanda at .* is no more in it"),
        ({"sparsities": '[0.5, 0.6, "2:4"]'}, "10 new cells: add --extend"),
    ],
)
def test_a_changed_study_is_refused_once_it_has_results(store: Store, changes: dict[str, str], message: str) -> None:
    run(study(), store, FakeLab().open_bench)
    lab = FakeLab()
    with pytest.raises(UsageError, match=message) as caught:
        run(study(**changes), store, lab.open_bench)
    assert "\n" not in str(caught.value)
    assert lab.scored == []
    assert run(study(), store, lab.open_bench).scored == 20


def test_a_changed_study_without_results_is_simply_replaced(store: Store) -> None:
    run(study(), store, FakeLab(open_errors={t: [InputFault("x")] for t in study().targets}).open_bench)
    assert run(study(seqlen="128", pruners='["wanda"]'), store, FakeLab().open_bench).planned == 4


def test_extend_runs_the_added_cells_alone(store: Store) -> None:
    run(study(), store, FakeLab().open_bench)
    lab = FakeLab()
    assert run(study(sparsities='[0.5, 0.6, "2:4"]'), store, lab.open_bench, extend=True).scored == 30
    assert {sparsity for _, sparsity, _ in lab.scored} == {"0.6"}
    with pytest.raises(UsageError, match="no more in it"):
        run(study(), store, lab.open_bench, extend=True)


def test_comments_and_ranking_may_change(store: Store) -> None:
    run(study(), store, FakeLab().open_bench)
    lab = FakeLab()
    run(study(TEXT + "# a comment\n", rank_isolation='"any"', sandbox='"bubblewrap"'), store, lab.open_bench)
    recorded = store.plan()
    assert recorded is not None
    assert recorded.rank_isolation == "any"
    assert "# a comment" in recorded.text
    assert lab.scored == []


def test_new_code_under_an_old_name_is_refused(store: Store, archive: list[Pruner]) -> None:
    run(study(), store, FakeLab().open_bench)
    archive[0] = fake_pruner(archive[0].name, Status.TIMEOUT)
    with pytest.raises(UsageError, match=r"sample/random-pruning/01 at .* has new code"):
        run(study(), store, FakeLab().open_bench, extend=True)


def test_another_protocol_is_refused_once_a_target_has_results(store: Store) -> None:
    lab = FakeLab(errors={("wanda", "0.5"): [SandboxFault("x")]})
    run(study(), store, lab.open_bench)
    with pytest.raises(UsageError, match="its protocol is protocol-2 and was protocol-1"):
        run(study(), store, FakeLab(protocol="protocol-2").open_bench)
    assert {measurement.id for measurement in store.measurements().values()} == {"protocol-1"}


def test_a_score_is_filed_under_the_studys_target(store: Store) -> None:
    class Renaming(FakeLab):
        def open_bench(self, target: str, **options: object):  # type: ignore[no-untyped-def]
            return super().open_bench(Path(target).name, **options)

    run(study(targets='["models/tiny"]'), store, Renaming().open_bench)
    assert {score.target for score in store.scores()} == set(store.measurements()) == {"models/tiny"}


def test_studies_are_found_by_path_and_by_bundled_name(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TEXT)
    assert load(str(tmp_path / "mine.toml")).name == "small"
    for bundled in ("paper", "paper-smollm2", "quickstart", "smollm2"):
        assert load(bundled).name == bundled
    with pytest.raises(UsageError, match="bundled study: paper, paper-smollm2, quickstart, smollm2"):
        load("none")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputFault, match="cannot be read"):
        load(str(tmp_path / "bytes.toml"))


def test_results_are_found_by_name_toml_folder_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(TEXT)
    with pytest.raises(UsageError, match="harness study run small"):
        results_file("small")
    Store(default_results("small")).close()
    for name in ("small", "mine.toml", "results/small", "results/small/results.sqlite"):
        assert results_file(name) == Path("results/small/results.sqlite")


def test_cells_differ_by_code() -> None:
    assert Cell("t", "0.5", "p", "a") != Cell("t", "0.5", "p", "b")
