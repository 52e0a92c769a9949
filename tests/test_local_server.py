"""The small local model behind an endpoint of its own. Real where it is installed; CI requires it."""

import importlib.util
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from harness import targets
from harness.cli import main
from harness.errors import EndpointFault, HarnessError, UsageError
from harness.generation import Generator, generate, reachable
from harness.local_server import local_endpoint, serve
from harness.stages.idea import own_idea

REQUIRED = os.environ.get("HARNESS_REQUIRE_LOCAL") == "1"


@pytest.fixture(scope="module")
def gguf() -> Path:
    if importlib.util.find_spec("xllamacpp") is None and not REQUIRED:
        pytest.skip("the extra `local` is not installed")
    try:
        return targets.smollm2_gguf()
    except HarnessError as fault:
        if REQUIRED:
            raise
        pytest.skip(str(fault))


def gone(url: str) -> bool:
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{url}/models", timeout=5)
    except urllib.error.URLError:
        return True
    return False


def test_one_real_pass(gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    (tmp_path / "short.md.j2").write_text("Write a Python function `prune(task)`: {{ idea.title }}.")
    monkeypatch.setattr("harness.stages.prompt.resource", lambda name: tmp_path)
    with reachable(Generator("local:smollm2-135m", max_tokens=48, temperature=0.0)) as generator:
        url = str(generator.base_url)
        pruner = generate(generator, own_idea("Half", "Remove every second weight."), tmp_path / "generated", "short")
        assert not gone(url)
    assert gone(url)
    assert pruner.model == "local:smollm2-135m"
    folder = tmp_path / "generated" / pruner.name
    assert folder.parent.parent.name == "local-smollm2-135m"
    text = (folder / "completion.json").read_text()
    assert json.loads((folder / "manifest.json").read_text())["resolved_model"] == "smollm2-135m"
    assert 1 <= json.loads(text)["response"]["usage"]["completion_tokens"] <= 48
    assert "sk-test" not in text
    assert str(gguf.parent) not in text


def test_it_is_stopped_when_the_block_fails(gguf: Path) -> None:
    with pytest.raises(ZeroDivisionError), serve(gguf, "x") as url:
        raise ZeroDivisionError
    assert gone(url)


def test_a_model_that_cannot_be_read_is_one_line(gguf: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GGUF nonsense")
    with pytest.raises(EndpointFault, match="did not start") as caught, serve(tmp_path / "bad.gguf", "x"):
        pass
    assert "\n" not in str(caught.value)


def test_a_server_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = tmp_path / "python"
    sleeper.write_text("#!/bin/sh\nexec sleep 600\n")
    sleeper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(sleeper))
    with pytest.raises(EndpointFault, match="did not start"), serve(tmp_path, "x", start_seconds=0.2):
        pass


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as caught:
        main(["generate", "--model", "local:smollm2-135m", "--idea", "2"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "harness: local models need an optional package: pip install '.[local]' in the harness's checkout\n"
    )


def test_unknown_local_model() -> None:
    with pytest.raises(UsageError, match="local:smollm2-135m"), local_endpoint("local:x"):
        pass
