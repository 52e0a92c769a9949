"""`harness run` as a program: its records, its exit status, its one-line errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import main
from harness.errors import SandboxFault
from harness.records import Execution
from tests.forked_sandbox import ForkedSandbox

FIELDS = {
    "pruner", "author", "target", "sparsity", "status", "outcome", "error", "achieved_sparsity", "perplexity",
    "perplexity_low", "perplexity_high", "dense_perplexity", "seconds", "peak_memory_bytes", "isolation", "protocol",
    "seed",
}  # fmt: skip


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in this process, without isolation; gives exit status, stdout, stderr."""
    monkeypatch.setattr("harness.pipeline.open_sandbox", lambda name, runtime=None: ForkedSandbox())
    monkeypatch.setattr("harness.console._quiet", False)  # what --quiet sets is undone with it

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(list(arguments))
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def texts(tokens: str) -> tuple[str, ...]:
    return ("--calibration", tokens, "--eval", tokens)


def test_records_are_those_of_the_design(
    command: Callable[..., tuple[int, str, str]], llama: Path, texts: tuple[str, ...], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("def prune(task):\n    raise ValueError('\\x1b[31mred\\x1b[0m')\n")
    arguments = ("magnitude", "bias", str(bad), "--target", str(llama), "--sparsity", "0.5,2:4", *texts)
    status, out, err = command("--quiet", "run", *arguments, "--seed", "3", "--json", "-")
    assert (status, err) == (0, "")
    records = json.loads(out)
    assert [(r["pruner"], r["sparsity"]) for r in records] == [
        (name, sparsity) for sparsity in ("0.5", "2:4") for name in ("magnitude", "bias", str(bad))
    ]
    for record in records:
        assert set(record) == FIELDS
        assert (record["author"], record["target"], record["seed"]) == ("human", str(llama), 3)
        assert record["isolation"] == "none"
    good, missing, failed = records[:3]
    assert (good["status"], good["outcome"], good["error"]) == ("OK", "OK", None)
    assert good["perplexity_low"] < good["perplexity"] < good["perplexity_high"]
    assert set(good["seconds"]) == {"sandbox", "prune", "score"}
    assert all(value >= 0 for value in good["seconds"].values())
    assert (missing["status"], missing["outcome"], missing["perplexity"]) == ("NA", "NA", None)
    assert (failed["status"], failed["outcome"]) == ("RUNTIME_ERROR", "Error")
    assert failed["error"] | {"traceback": ""} == {
        "stage": "run", "type": "ValueError", "message": "\x1b[31mred\x1b[0m", "line": 2, "traceback": "",
    }  # fmt: skip


def test_the_terminal_shows_no_escape_of_a_candidate(
    command: Callable[..., tuple[int, str, str]], llama: Path, texts: tuple[str, ...], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("def prune(task):\n    raise ValueError('\\x1b[31m\\u202e[red]x')\n")
    file = tmp_path / "out.json"
    status, out, err = command(
        "run", str(bad), "--target", str(llama), "--sparsity", "0.5", *texts, "--json", str(file)
    )
    assert status == 0
    assert "RUNTIME_ERROR" in out
    assert "[red]x" in out
    assert "\nnot pruned: 1.6 k of 9.7 k parameters: model.embed_tokens (1.5 k), norms (112)\n" in out
    assert "\x1b" not in out + err
    assert "\u202e" not in out + err
    assert json.loads(file.read_text())[0]["status"] == "RUNTIME_ERROR"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nothing", "--target", "testbed-llama", "--sparsity", "0.5"], "no pruner"),
        (["run", "no/such.py", "--target", "testbed-llama", "--sparsity", "0.5"], "no file"),
        (["run", "magnitude", "--target", "nothing", "--sparsity", "0.5"], "no target"),
        (["run", "magnitude", "--target", "testbed-llama", "--sparsity", "1.5"], "below 1"),
        (["run", "magnitude", "--target", "testbed-llama", "--sparsity", "4:2"], "0 < n < m"),
        (["run", "magnitude", "--target", "testbed-llama", "--sparsity", "abc"], "ratio such as 0.5"),
        (["run", "magnitude", "--target", "testbed-llama", "--sparsity", "0.5,,"], "ratio such as 0.5"),
        (["run", "magnitude", "--target", "testbed-llama", "--sparsity", "nan"], "below 1"),
        (["run", "magnitude", "--target", "testbed-llama", "--sparsity", "0.5", "--eval", "text:/no"], "no such file"),
        (["run", "magnitude", "--target", "testbed-llama", "--sparsity", "0.5", "--memory", "x"], "--memory"),
        (["run", "magnitude", "--target", "testbed-llama", "--sparsity", "0.5", "--json", "/no/where"], "--json"),
        (["run", "magnitude", "--target", "testbed-llama", "--sparsity", "0.5", "--timeout", "0"], "--timeout"),
        (["run", "magnitude", "--sparsity", "0.5"], "--target"),
        (["run"], "PRUNER"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_usage_is_exit_2_with_one_line(
    arguments: list[str], words: str, command: Callable[..., tuple[int, str, str]]
) -> None:
    status, out, err = command("--quiet", *arguments)
    assert (status, out) == (2, "")
    lines = [line for line in err.splitlines() if not line.startswith(("Usage:", "Try ")) and line.strip()]
    assert len(lines) == 1, err
    assert words in lines[0]
    assert "Traceback" not in err


def test_an_unreadable_target_is_exit_3(command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    status, _, err = command("run", "magnitude", "--target", str(tmp_path), "--sparsity", "0.5", "--quiet")
    assert status == 3
    assert err.count("\n") == 1
    assert "no config.json" in err


def test_a_dead_sandbox_is_ours(
    command: Callable[..., tuple[int, str, str]], llama: Path, texts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Execution:
        raise SandboxFault("the engine is gone: start it")

    monkeypatch.setattr(ForkedSandbox, "execute", fail)
    arguments = ("magnitude", "--target", str(llama), "--sparsity", "0.5", *texts, "--json", "-")
    status, out, err = command("--quiet", "run", *arguments)
    assert (status, err) == (3, "harness: the engine is gone: start it\n")
    record = json.loads(out)[0]
    assert (record["status"], record["outcome"], record["perplexity"]) == ("INFRA_SANDBOX", None, None)


def test_no_engine_is_exit_3_for_docker(tmp_path: Path) -> None:
    environment = os.environ | {"DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    done = subprocess.run(
        [sys.executable, "-m", "harness", "run", "magnitude", "--target", "testbed-llama", "--sparsity", "0.5",
         "--sandbox", "docker"],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "no Docker engine answers" in done.stderr


def test_a_full_disk_is_ours_and_leaves_nothing(
    command: Callable[..., tuple[int, str, str]], llama: Path, texts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    runs = Path(os.environ["HARNESS_CACHE"]) / "runs"
    before = set(runs.glob("*"))
    monkeypatch.setattr(os, "posix_fallocate", full)
    status, out, err = command(
        "--quiet", "run", "magnitude", "--target", str(llama), "--sparsity", "0.5", *texts, "--json", "-"
    )
    assert status == 3
    assert "make room" in err
    assert json.loads(out)[0]["status"] == "INFRA_STORAGE"
    assert set(runs.glob("*")) == before


def test_targets_are_listed(command: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = command("targets", "--json", "-")
    assert status == 0
    assert {entry["name"] for entry in json.loads(out)} == {"smollm2-135m", "testbed-llama", "testbed-opt"}
    assert "FOLDER" in command("targets")[1]


def test_the_doctor_says_what_to_do(
    command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    status, out, _ = command("doctor", "--json", "-")
    findings = {entry["what"]: entry for entry in json.loads(out)}
    assert {"python", "torch", "docker", "image", "bubblewrap", "sandbox", "key", "local", "disk"} == set(findings)
    assert "OPENAI_API_KEY" in findings["key"]["found"]
    assert status == (3 if any(entry["good"] is False for entry in findings.values()) else 0)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-value")
    assert "sk-secret-value" not in command("doctor")[1]
