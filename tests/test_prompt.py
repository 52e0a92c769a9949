"""The prompts state the task and the interface, with nothing unfilled; their example runs and gives no idea away."""

import ast
import hashlib
import re
from pathlib import Path

import pytest

from harness.bench import Bench
from harness.errors import UsageError
from harness.records import Idea, Sparsity
from harness.resources import resource, sandbox_package
from harness.stages import prompt as stage
from harness.stages.idea import ideas
from harness.stages.prompt import render, templates

from .conftest import pruner

EXAMPLE = resource("prompts") / "parts" / "example.py"
WHOLE = [name for name in templates() if name != "terse"]


@pytest.mark.parametrize("idea", ideas(), ids=lambda idea: idea.slug)
def test_it_holds_the_idea_and_the_whole_interface(idea: Idea) -> None:
    prompt = render(idea)
    assert idea.title in prompt.text
    assert idea.description in prompt.text
    assert (sandbox_package() / "interface.py").read_text().rstrip() in prompt.text
    assert "{{" not in prompt.text
    assert prompt.template == "one-pass"


def test_the_archived_samples_were_asked_for_by_the_default_template() -> None:
    for idea in ideas():
        archived = resource("generated/sample") / idea.slug / "01" / "prompt.md"
        assert render(idea).text == archived.read_text(), "run tools/make_samples.py"


@pytest.mark.parametrize("template", templates())
def test_every_template_asks_for_the_idea_and_names_what_prune_is_given(template: str) -> None:
    idea = Idea("x", "a < b & {{ 1 + 1 }}", "{% raw %} <b>")
    text = render(idea, template).text
    assert text.startswith(("# ", "Write "))
    assert text.endswith(".\n")
    assert text.count(idea.title) == text.count(idea.description) == 1
    assert "{{" not in text.replace(idea.title, "")
    assert "{%" not in text.replace(idea.description, "")
    assert "\n\n\n" not in re.sub(r"```python\n.*?\n```", "code", text, flags=re.DOTALL)
    for name in ("def prune(task)", "input_norm", "hessian", "fisher", "keep(", "sparsity", "```python", "structure"):
        assert name in text, name


@pytest.mark.parametrize("template", WHOLE)
def test_all_but_the_terse_one_hold_the_whole_interface(template: str) -> None:
    assert (sandbox_package() / "interface.py").read_text().rstrip() in render(ideas()[0], template).text


def test_the_terse_one_names_every_member_of_the_interface_in_less_than_half_the_words() -> None:
    interface = (sandbox_package() / "interface.py").read_text()
    text = render(ideas()[0], "terse").text
    for node in ast.walk(ast.parse(interface)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            assert node.name in text
    assert "    weight: torch.Tensor  # [out_features, in_features], float\n" in text
    assert "    keep(self, mask: torch.Tensor) -> None  # Zero the weights where `mask`" in text
    assert len(text) < len(render(ideas()[0]).text) / 2


def test_it_states_the_checks_and_what_is_available() -> None:
    text = render(ideas()[0]).text
    for words in ["by layer", "N:M", "finite", "`torch`, `numpy`", "no network", "```python", "def prune(task)"]:
        assert words in text


@pytest.mark.parametrize("sparsity", ["0.5", "0.3", "2:4", "3:5"])
def test_the_example_runs_and_meets_what_is_asked(sparsity: str, llama_bench: Bench) -> None:
    code = EXAMPLE.read_text()
    assert f"```python\n{code}```\n" in render(ideas()[0], "with-example").text
    score = llama_bench.score(pruner(code), Sparsity.parse(sparsity))
    assert score.status == "OK", score.error
    assert score.uniform
    assert not score.weights_changed


def test_the_example_looks_at_nothing_that_an_idea_or_a_reference_looks_at() -> None:
    """Of a layer it takes the shape of its weight alone: no criterion can be read off it."""
    taken = set()
    for node in ast.walk(ast.parse(EXAMPLE.read_text())):
        if isinstance(node, ast.Attribute):
            taken.add(ast.unparse(node))
    assert {name for name in taken if name.startswith(("layer.", "task."))} == {
        "layer.weight",
        "layer.weight.shape",
        "layer.weight.device",
        "layer.keep",
        "task.layers",
        "task.sparsity",
    }
    for file in resource("reference_pruners").glob("[a-z]*.py"):
        assert EXAMPLE.read_text() not in file.read_text()


def test_the_hash_of_a_template_covers_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "end.md.j2").write_text("the end\n")
    (tmp_path / "mine.md.j2").write_text('{{ idea.title }}\n{% include "parts/end.md.j2" -%}\n')
    (tmp_path / "own.md.j2").write_text("{{ idea.title }}\n")
    monkeypatch.setattr(stage, "resource", lambda name: tmp_path)
    assert templates() == ["mine", "own"]
    first, own = render(ideas()[0], "mine"), render(ideas()[0], "own")
    assert first.text == f"{ideas()[0].title}\nthe end\n"
    (tmp_path / "parts" / "end.md.j2").write_text("another end\n")
    assert render(ideas()[0], "mine").template_sha256 != first.template_sha256
    assert render(ideas()[0], "own").template_sha256 == own.template_sha256
    assert own.template_sha256 == hashlib.sha256((tmp_path / "own.md.j2").read_bytes()).hexdigest()


def test_unknown_template() -> None:
    assert templates() == ["chain-of-thought", "interface-only", "one-pass", "terse", "with-example"]
    with pytest.raises(
        UsageError, match=r"Did you mean 'one-pass'\? Known: chain-of-thought, interface-only, one-pass"
    ):
        render(ideas()[0], "one-pas")
    for name in ("../one-pass", "parts/idea", "parts/answer"):
        with pytest.raises(UsageError):
            render(ideas()[0], name)


@pytest.mark.parametrize(
    "text", ["{{ ide.title }}", "{{ idea.titel }}", "{% if %}", '{% include "parts/none.md.j2" %}']
)
def test_a_broken_template_is_one_line(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.md.j2").write_text(text)
    monkeypatch.setattr(stage, "resource", lambda name: tmp_path)
    with pytest.raises(UsageError, match="template 'mine' is broken"):
        render(ideas()[0], "mine")
