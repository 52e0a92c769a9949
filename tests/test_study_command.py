"""`harness study`, `harness report` and `harness replay`, end to end on a fake bench."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

from harness import pruners
from harness.cli import cli, main
from harness.errors import HarnessError, InputFault, SandboxFault, UsageError
from harness.records import Pruner
from harness.status import Status
from harness.store import Store
from harness.testing.fake_bench import FakeLab, fake_pruner

LONG = "sample/dynamic-pruning-with-reinforcement-learning/01"
TEXT = f"""
name = "small"
targets = ["testbed-llama"]
sparsities = [0.5, "2:4"]
pruners = ["magnitude", "wanda", "bias", "{LONG}", "sample/l1/01"]
"""
STATUSES = {"bias": Status.NA, "sample/l1/01": Status.SPARSITY_MISSED}


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeLab:
    """The fake bench in the place of the pipeline, and a folder with one study to work in."""
    lab = FakeLab()
    pipeline = ModuleType("harness.pipeline")
    pipeline.open_bench = lab.open_bench  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "harness.pipeline", pipeline)
    monkeypatch.setattr(pruners, "find", lambda name: fake_pruner(name, STATUSES.get(name, Status.OK)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "")
    (tmp_path / "small.toml").write_text(TEXT)
    return lab


def invoke(*arguments: str, columns: int = 120) -> Result:
    return CliRunner().invoke(cli, arguments, env={"COLUMNS": str(columns)})


def succeed(*arguments: str, columns: int = 120) -> str:
    result = invoke(*arguments, columns=columns)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_run_then_report_by_name() -> None:
    result = invoke("study", "run", "small.toml")
    assert result.exit_code == 0
    assert "10 of 10 cells done; next: harness report small" in result.stderr
    text = succeed("report", "small")
    assert "10 of 10 cells have a result." in text
    words = [line.split() for line in text.splitlines()]
    assert ["human", "3", "2", "6", "4", "0", "2", "67%", "(30%", "to", "90%)"] in words
    assert ["model", "2", "1", "4", "2", "2", "0", "50%", "(15%", "to", "85%)"] in words
    for name in ("leaderboard.md", "leaderboard.csv", "perplexity.png"):
        assert Path("results/small/report", name).is_file()
        assert f"results/small/report/{name}" in text


@pytest.mark.parametrize("columns", [80, 100, 120, 200])
def test_a_ranking_keeps_one_line_a_pruner_and_fits_the_terminal(columns: int) -> None:
    succeed("study", "run", "small.toml")
    lines = succeed("report", "small", columns=columns).splitlines()
    start = next(index for index, line in enumerate(lines) if "sparsity 0.5" in line)
    end = next(index for index, line in enumerate(lines) if "sparsity 2:4" in line)
    rows = [line for line in lines[start:end] if {"human", "model"} & set(line.split())]
    assert len(rows) == 5
    assert max(len(line) for line in lines[start:end]) <= columns
    for word in ("magnitude", "SPARSITY_MISSED", "perplexity", "x dense"):
        assert any(word in line for line in lines[start:end])
    assert any(line.split()[1].startswith("sample/dynamic") and "/01" in line.split()[1] for line in rows)
    assert ("isolation" in "".join(lines[start:end])) == (columns >= 120)
    if columns == 200:
        assert LONG in "".join(rows)


def test_report_writes_elsewhere_and_as_json() -> None:
    succeed("study", "run", "small.toml", "--results", "here")
    records = json.loads(succeed("report", "here", "--out", "there", "--json", "-"))
    assert [record["pruner"] for record in records][:3] == ["magnitude", "wanda", "bias"]
    assert {record["status"] for record in records} == {"OK", "NA", "SPARSITY_MISSED"}
    assert Path("there/leaderboard.md").is_file()
    succeed("report", "here/results.sqlite", "--json", "scores.json")
    assert json.loads(Path("scores.json").read_text()) == records


def test_pages_can_be_left_out() -> None:
    succeed("study", "run", "small.toml")
    text = succeed("report", "small", "--no-pages")
    assert "leaderboard.csv" in text
    assert "index.html" not in text
    assert not Path("results/small/report/html").exists()
    assert isinstance(invoke("report", "small", "--no-pages", "--open").exception, UsageError)


def test_a_study_that_is_done_is_left_as_it_is(lab: FakeLab) -> None:
    succeed("study", "run", "small.toml")
    before = Path("results/small/results.sqlite").stat().st_mtime_ns
    succeed("study", "run", "small.toml")
    assert (len(lab.scored), len(lab.opened)) == (10, 1)
    assert Path("results/small/results.sqlite").stat().st_mtime_ns == before
    succeed("study", "run", "small.toml", "--rank-any-isolation")
    with Store(Path("results/small/results.sqlite")) as store:
        plan = store.plan()
        assert plan is not None
        assert plan.rank_isolation == "any"


def test_json_has_null_for_what_is_not_finite(lab: FakeLab) -> None:
    lab.shift = 2000.0
    succeed("study", "run", "small.toml")
    assert json.loads(succeed("report", "small", "--json", "-"))[0]["perplexity"] is None


def test_ranking_needs_docker_or_the_flag(lab: FakeLab) -> None:
    lab.isolation = "bubblewrap"
    succeed("study", "run", "small.toml")
    assert "have no rank" in succeed("report", "small")
    assert "by request" in succeed("report", "small", "--rank-any-isolation")
    assert "have no rank" in succeed("report", "small")
    succeed("study", "run", "small.toml", "--rank-any-isolation")
    assert "by request" in succeed("report", "small")


def test_options_reach_the_bench(lab: FakeLab) -> None:
    succeed("study", "run", "small.toml", "--sandbox", "docker", "--runtime", "runsc")
    assert (lab.opened[0][1]["sandbox"], lab.opened[0][1]["runtime"]) == ("docker", "runsc")


def test_a_study_that_began_in_docker_goes_on_in_docker(lab: FakeLab) -> None:
    lab.errors[("wanda", "0.5")] = [SandboxFault("the engine died")]
    for _ in range(2):
        invoke("study", "run", "small.toml")
    lab.errors[("bias", "0.5")] = [SandboxFault("the engine died")]
    invoke("study", "run", "small.toml", "--results", "asked")
    succeed("study", "run", "small.toml", "--results", "asked", "--sandbox", "bubblewrap")
    lab.isolation = "bubblewrap"
    lab.errors[("bias", "0.5")] = [SandboxFault("no room")]
    for _ in range(2):
        invoke("study", "run", "small.toml", "--results", "other")
    levels = [arguments["sandbox"] for _, arguments in lab.opened]
    assert levels == ["auto", "docker", "auto", "bubblewrap", "auto", "auto"]


def test_an_interrupted_run_says_how_far_it_is_and_goes_on(lab: FakeLab) -> None:
    lab.errors[("bias", "0.5")] = [KeyboardInterrupt()]
    result = invoke("study", "run", "small.toml")
    assert result.exit_code == 130
    assert "stopped with 2 of 10 cells done" in result.stderr
    assert "2 of 10 cells done" in succeed("study", "status", "small")
    succeed("study", "run", "small.toml")
    assert len(lab.scored) == 11


def test_faults_end_with_3_in_one_line_and_are_retried(lab: FakeLab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.errors[("wanda", "0.5")] = [SandboxFault("no engine answers")]
    with pytest.raises(SystemExit) as caught:
        main(["-q", "study", "run", "small.toml"])
    assert caught.value.code == 3
    error = capsys.readouterr().err
    assert error.startswith("harness: 1 of 10 cells met a fault of the harness, the first INFRA_SANDBOX: no engine")
    assert error.count("\n") == 1
    status = succeed("study", "status", "small.toml")
    assert "wanda: INFRA_SANDBOX: no engine answers" in status
    succeed("study", "run", "small.toml")
    assert "INFRA" not in succeed("study", "status", "small")


def test_status_counts_by_outcome(lab: FakeLab) -> None:
    lab.errors[("wanda", "2:4")] = [SandboxFault("x")]
    invoke("study", "run", "small.toml")
    rows = [[word for word in line.split() if word != "│"] for line in succeed("study", "status", "small").splitlines()]
    assert ["testbed-llama", "0.5", "5", "3", "1", "1", "0", "0"] in rows
    assert ["testbed-llama", "2:4", "5", "2", "1", "1", "1", "1"] in rows


@pytest.mark.parametrize(
    "arguments",
    [
        ("study", "run", "none.toml"),
        ("study", "status", "none"),
        ("report", "none"),
        ("replay", "none"),
        ("report", "small", "--json", "no/such/folder/file.json"),
    ],
)
def test_wrong_usage_is_one_line_and_2(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("harness: ")
    assert error.count("\n") == 1


def test_a_changed_study_is_refused_before_anything_runs(lab: FakeLab) -> None:
    succeed("study", "run", "small.toml")
    Path("small.toml").write_text(TEXT + "seqlen = 32\n")
    result = invoke("study", "run", "small.toml")
    assert isinstance(result.exception, UsageError)
    assert len(lab.opened) == 1


def test_replay_of_the_same_is_the_same(lab: FakeLab) -> None:
    succeed("study", "run", "small.toml")
    before = Path("results/small/results.sqlite").read_bytes()
    assert "10 of 10 recorded cells ran again with the same result." in succeed("replay", "small")
    assert len(lab.scored) == 20
    assert Path("results/small/results.sqlite").read_bytes() == before


def test_replay_shows_what_differs_and_ends_with_1(lab: FakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    succeed("study", "run", "small.toml")

    def find(name: str) -> Pruner:
        return fake_pruner(name, Status.TIMEOUT if name == "sample/l1/01" else STATUSES.get(name, Status.OK))

    monkeypatch.setattr(pruners, "find", find)
    lab.shift = 1e-12
    lab.protocol = "protocol-2"
    result = invoke("replay", "small", columns=160)
    assert result.exit_code == 1
    assert "2 of 10 recorded cells ran again with the same result." in result.stdout
    assert "sample/l1/01: its code has changed" in result.stdout
    assert "testbed-llama: measured by protocol protocol-2, recorded by protocol-1" in result.stdout
    assert any("SPARSITY_MISSED" in line and "TIMEOUT" in line for line in result.stdout.splitlines())


def test_replay_with_a_fault_is_no_difference_but_a_fault(lab: FakeLab) -> None:
    succeed("study", "run", "small.toml")
    lab.open_errors["testbed-llama"] = [InputFault("gone")]
    result = invoke("replay", "small")
    assert isinstance(result.exception, HarnessError)
    assert result.exception.exit_status == 3
    assert "0 of 10 recorded cells ran again" in result.stdout


def test_hostile_text_reaches_no_terminal(lab: FakeLab) -> None:
    name = "sample/\x1b]0;owned\x07[red]\u202e/01"
    Path("small.toml").write_text(f'name="small"\ntargets=["t"]\nsparsities=[0.5]\npruners=[{json.dumps(name)}]')
    lab.errors[(name, "0.5")] = [SandboxFault("\x1b[2J[bold]")]
    shown = [invoke("study", "run", "small.toml"), invoke("study", "status", "small")]
    shown += [invoke("study", "run", "small.toml"), invoke("report", "small"), invoke("replay", "small")]
    for result in shown:
        assert not set(result.output) & set("\x1b\x07\u202e")
    with Store(Path("results/small/results.sqlite")) as store:
        assert [score.pruner for score in store.scores()] == [name]
