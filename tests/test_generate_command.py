"""`harness generate` against a loopback endpoint, and the commands that list what there is."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import pruners
from harness.cli import main
from harness.stages.idea import ideas
from harness.stages.prompt import render
from harness.testing.openai_server import Behaviour, OpenAIServer

KEY = "sk-test-0123456789"
ANSWER = "```python\ndef prune(task):\n    pass\n```\n"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    yield


def run(*arguments: str) -> int:
    """The exit status of `harness …`."""
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0)


def test_one_pass(capsys: pytest.CaptureFixture[str]) -> None:
    with OpenAIServer(ANSWER) as server:
        status = run("generate", "--model", "o1", "--idea", "L1 norm pruning", "--base-url", server.url)
    assert status == 0
    output = capsys.readouterr()
    assert output.out == "generated/o1/l1-norm-pruning/01  code, 2 lines, not yet run\n"
    assert "harness run o1/l1-norm-pruning/01" in output.err
    (request,) = server.requests
    prompt = render(next(idea for idea in ideas() if idea.slug == "l1-norm-pruning"))
    assert request.body == {"model": "o1", "messages": [{"role": "user", "content": prompt.text}]}
    folder = Path("generated/o1/l1-norm-pruning/01")
    assert sorted(f.name for f in folder.iterdir()) == ["completion.json", "manifest.json", "prompt.md", "pruner.py"]
    assert (folder / "pruner.py").read_text() == "def prune(task):\n    pass\n"
    exchange = json.loads((folder / "completion.json").read_text())
    assert exchange["request"]["body"] == request.body
    assert exchange["response"]["choices"][0]["message"]["content"] == ANSWER
    for file in Path.cwd().rglob("*"):
        assert file.is_dir() or KEY.encode() not in file.read_bytes()
    assert pruners.find("o1/l1-norm-pruning/01").author == "model"


def test_all_ideas_samples_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    with OpenAIServer("I would rather talk about the weather.") as server:
        status = run("generate", "--model", "m", "--all-ideas", "--samples", "2", "--generated", "archive",
                     "--base-url", server.url, "--json", "-")  # fmt: skip
    assert status == 0
    output = capsys.readouterr()
    records = json.loads(output.out)
    assert [r["id"] for r in records] == [f"m/{idea.slug}/{n:02d}" for idea in ideas() for n in (1, 2)]
    assert {r["status"] for r in records} == {"NO_CODE"}
    assert Path(records[0]["path"], "manifest.json").is_file()
    assert len(server.requests) == 20
    assert output.err.count("NO_CODE: the answer holds no Python code") == 20


def test_an_idea_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    with OpenAIServer(ANSWER) as server:
        assert run("generate", "--model", "m", "--idea", "My idea", "--describe", "Remove every second weight.",
                   "--base-url", server.url) == 0  # fmt: skip
    assert "Remove every second weight." in server.requests[0].body["messages"][0]["content"]
    assert Path("generated/m/my-idea/01/pruner.py").is_file()


@pytest.mark.parametrize(
    ("behaviour", "status"), [("truncate", "TRUNCATED"), ("filter", "REFUSED"), ("refuse", "REFUSED")]
)
def test_outcomes_are_archived_and_no_error(
    behaviour: Behaviour, status: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with OpenAIServer("```python\ndef prune(task):\n", behaviour) as server:
        assert run("generate", "--model", "o1", "--idea", "2", "--base-url", server.url) == 0
    output = capsys.readouterr()
    assert f"generated/o1/l1-norm-pruning/01  {status}: " in output.out
    assert "next:" not in output.err
    assert not Path("generated/o1/l1-norm-pruning/01/pruner.py").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--idea", "l1 norm"], "Did you mean 'L1 Norm Pruning'"),
        ([], "no idea: give --idea"),
        (["--idea", "2", "--template", "none"], "no template 'none'"),
        (["--idea", "2", "--idea", "3", "--describe", "x"], "exactly one --idea"),
        (["--idea", "2", "--describe", "x"], "already has a description"),
        (["--idea", "2", "--json", "missing/x.json"], "cannot be written"),
        (["--idea", "2", "--base-url", "foo"], "base URL"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert run("generate", "--model", "o1", *arguments) == 2
    output = capsys.readouterr()
    assert words in output.err
    assert output.err.count("\n") == 1
    assert not list(Path.cwd().rglob("*.json"))


def test_a_missing_key_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    assert run("generate", "--model", "o1", "--idea", "2") == 2
    assert capsys.readouterr().err == "harness: no key: set OPENAI_API_KEY, or give another endpoint with --base-url\n"


def test_local_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("generate", "--model", "local:other", "--idea", "2") == 2
    assert "there is local:smollm2-135m" in capsys.readouterr().err
    assert run("generate", "--model", "local:smollm2-135m", "--idea", "2", "--base-url", "http://127.0.0.1/v1") == 2
    assert "leave out --base-url" in capsys.readouterr().err


@pytest.mark.parametrize("behaviour", ["unauthorized", "no_model", "malformed", "no_choices"])
def test_faults_of_the_endpoint_are_one_line(behaviour: Behaviour, capsys: pytest.CaptureFixture[str]) -> None:
    with OpenAIServer(ANSWER, behaviour) as server:
        assert run("generate", "--model", "o1", "--idea", "2", "--base-url", server.url) == 3
    output = capsys.readouterr()
    assert output.err.count("\n") == 1
    assert KEY not in output.err
    assert not Path("generated/o1").exists()
    sent, *received = [json.loads(line) for line in Path("generated/requests.jsonl").read_text().splitlines()]
    assert sent["request"]["body"]["model"] == "o1"
    assert [one["status"] for one in received] == [{"unauthorized": 401, "no_model": 404}.get(behaviour, 200)]
    assert received[0]["response"], "as it came, though it is no answer"


def test_a_fault_keeps_what_was_archived_before(capsys: pytest.CaptureFixture[str]) -> None:
    with OpenAIServer(ANSWER, "answer", "no_choices") as server:
        assert run("generate", "--model", "o1", "--all-ideas", "--base-url", server.url, "--json", "done.json") == 3
    assert [r["id"] for r in json.loads(Path("done.json").read_text())] == ["o1/gradient-sensitive-pruning/01"]


def test_an_archive_that_cannot_be_written_costs_no_request(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("")
    with OpenAIServer(ANSWER) as server:
        assert run("generate", "--model", "o1", "--idea", "2", "--base-url", server.url, "--generated", "file/x") == 3
    assert "cannot archive in file/x" in capsys.readouterr().err
    assert server.requests == []


def test_what_a_model_wrote_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with OpenAIServer("\x1b[2J", "refuse") as server:
        run("generate", "--model", "\x1b[31mred", "--idea", "2", "--base-url", server.url)
    output = capsys.readouterr()
    assert "\x1b" not in output.out + output.err


def test_ideas(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ideas") == 0
    assert " 2  L1 Norm Pruning\n" in capsys.readouterr().out
    assert run("ideas", "--json", "-") == 0
    assert [idea["number"] for idea in json.loads(capsys.readouterr().out)] == list(range(1, 11))


def test_pruners(capsys: pytest.CaptureFixture[str]) -> None:
    with OpenAIServer(ANSWER) as server:
        run("generate", "--model", "o1", "--idea", "2", "--samples", "2", "--base-url", server.url)
    Path("generated/o1/l1-norm-pruning/02/pruner.py").write_text("changed")
    capsys.readouterr()
    assert run("pruners") == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert lines["o1/l1-norm-pruning/01"][1:] == ["model", "o1", "code"]
    assert lines["o1/l1-norm-pruning/02"][-1] == "unusable"
    assert "sample/l1-norm-pruning/01" in lines
    assert run("pruners", "--json", "-") == 0
    records = {record["pruner"]: record for record in json.loads(capsys.readouterr().out)}
    assert "not as it was archived" in records["o1/l1-norm-pruning/02"]["message"]
    assert records["sample/dynamic-pruning-with-reinforcement-learning/01"]["status"] == "TRUNCATED"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("completion", shell) == 0
    assert "_HARNESS_COMPLETE" in capsys.readouterr().out


def test_ideas_complete_in_the_shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("_HARNESS_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "harness generate --model o1 --idea rand")
    monkeypatch.setenv("COMP_CWORD", "5")
    run()
    assert sorted(capsys.readouterr().out.split()) == ["plain,random-pattern-pruning", "plain,random-pruning"]


def test_light_commands_load_nothing_heavy() -> None:
    code = (
        "import sys, harness.cli.generate, harness.generation, harness.pruners, harness.local_server\n"
        "import harness.stages.idea, harness.stages.prompt, harness.stages.completion, harness.stages.candidate\n"
        "heavy = {'torch', 'transformers', 'openai', 'jinja2', 'markdown_it', 'pydantic', 'rich', 'xllamacpp'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    root = Path(pruners.__file__).parent.parent
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=60)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_nothing_is_asked_that_the_journal_has_no_room_for(capsys: pytest.CaptureFixture[str]) -> None:
    import resource

    Path("generated").mkdir()
    Path("generated/requests.jsonl").write_text("{}\n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with OpenAIServer(ANSWER) as server:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        try:
            status = run("generate", "--model", "o1", "--idea", "2", "--base-url", server.url)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert status == 3
    assert "requests.jsonl: cannot be written" in capsys.readouterr().err
    assert not server.requests
