"""The prompt states the task, the checks and the interface, and nothing is left unfilled."""

import hashlib
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.records import Idea
from harness.resources import resource, sandbox_package
from harness.stages import prompt as stage
from harness.stages.idea import ideas
from harness.stages.prompt import render, templates


@pytest.mark.parametrize("idea", ideas(), ids=lambda idea: idea.slug)
def test_it_holds_the_idea_and_the_whole_interface(idea: Idea) -> None:
    prompt = render(idea)
    assert idea.title in prompt.text
    assert idea.description in prompt.text
    assert (sandbox_package() / "interface.py").read_text().rstrip() in prompt.text
    assert "{{" not in prompt.text
    assert prompt.template == "one-pass"
    assert (
        prompt.template_sha256
        == hashlib.sha256(resource("prompts").joinpath("one-pass.md.j2").read_bytes()).hexdigest()
    )


def test_it_states_the_checks_and_what_is_available() -> None:
    text = render(ideas()[0]).text
    for words in ["by layer", "N:M", "finite", "`torch`, `numpy`", "no network", "```python", "def prune(task)"]:
        assert words in text


def test_it_is_markdown_and_no_template_itself() -> None:
    text = render(Idea("x", "a < b & {{ 1 + 1 }}", "{% raw %} <b>")).text
    assert "a < b & {{ 1 + 1 }}" in text
    assert "{% raw %} <b>" in text


def test_unknown_template() -> None:
    assert templates() == ["one-pass"]
    with pytest.raises(UsageError, match=r"Did you mean 'one-pass'\? Known: one-pass"):
        render(ideas()[0], "one-pas")
    with pytest.raises(UsageError):
        render(ideas()[0], "../one-pass")


@pytest.mark.parametrize("text", ["{{ ide.title }}", "{{ idea.titel }}", "{% if %}"])
def test_a_broken_template_is_one_line(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.md.j2").write_text(text)
    monkeypatch.setattr(stage, "resource", lambda name: tmp_path)
    with pytest.raises(UsageError, match="template 'mine' is broken"):
        render(ideas()[0], "mine")
