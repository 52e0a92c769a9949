"""The site builds without a warning and fetches nothing, and what its pages quote is understood by the program."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import util
from pathlib import Path
from typing import Any

import click
import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

from harness.causes import Cause, Rule
from harness.cli import cli
from harness.errors import Fault
from harness.status import Status
from harness.study import Study, parse
from sandbox.interface import NotApplicable
from tests.forked_sandbox import ForkedSandbox

from .test_references import FakeLayer, FakeTask

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture(scope="module")
def hook() -> Any:
    """tools/docs_hook.py, as MkDocs loads it."""
    spec = util.spec_from_file_location("docs_hook", ROOT / "tools/docs_hook.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it: a broken link or anchor, or a page outside the navigation, ends the build."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(folder)))
    return folder


def code(language: str, *names: str) -> list[str]:
    """The blocks of a language in all pages, or in those named."""
    pages = [page for page in PAGES if not names or page.name in names]
    return [
        block for page in pages for block in re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)
    ]


def quoted_commands() -> Iterator[str]:
    indented = re.findall(r"^    (harness .*)", (ROOT / "README.md").read_text(), re.M)
    lines = [*indented, *(line for block in code("sh") for line in block.splitlines())]
    for line in lines:
        for command in line.split("&&"):
            if command.strip().startswith("harness "):
                yield command.strip()


class Fetched(HTMLParser):
    """What a browser loads to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag != "a":
            self.addresses += [value for key in ("src", "href", "srcset", "data") if (value := given.get(key))]


def test_the_site_fetches_nothing(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        fetched = Fetched()
        fetched.feed(page.read_text())
        assert fetched.addresses
        assert not [address for address in fetched.addresses if re.match(r"(\w+:)?//", address)], page
        assert 'class="mermaid"' not in page.read_text(), "its program would be fetched"
    for sheet in [*site.rglob("*.css"), *site.rglob("*.svg")]:
        assert not re.search(r"url\(\s*[\"']?(https?:)?//|@import", sheet.read_text()), sheet
    assert (site / "search/search_index.js").is_file(), "search from disk"


def test_the_parts_made_from_the_program_are_in_the_site(site: Path) -> None:
    commands, keys, statuses, interface, causes = (
        (site / f"reference/{name}.html").read_text()
        for name in ("commands", "study-file", "statuses", "interface", "causes")
    )
    assert "puts here" not in commands + keys + statuses + interface + causes
    assert all(f"<td>{cause}</td>" in causes for cause in Cause)
    assert all(f"<code>{rule}</code>" in causes for rule in Rule)
    assert all(f"harness-{name}" in commands for name in cli.list_commands(click.Context(cli)))
    assert "--rank-any-isolation" in commands
    assert all(f"<code>{key}</code>" in keys for key in Study.model_fields)
    assert all(f"<code>{status}</code>" in statuses for status in Status)
    assert "<code>INFRA_ENDPOINT</code>" in statuses
    assert all(f"<code>{name}</code>" in interface for name in ("input_norm", "keep(mask)", "layers()", "int | None"))


def test_every_key_and_status_is_described(hook: Any) -> None:
    for made in (hook.study_keys(), hook.statuses(), hook.faults(), hook.causes(), hook.rules()):
        assert not [line for line in made.splitlines() if line.endswith("|  |")]


def test_links_out_of_docs_become_paths(hook: Any, caplog: pytest.LogCaptureFixture) -> None:
    text = "[README.md](../README.md), [the lock](../requirements.lock), [a page](../docs/records.md#statuses)"
    made = hook.without_outer_links(text, ROOT / "docs")
    assert made == "`README.md`, the lock (`requirements.lock`), [a page](../docs/records.md#statuses)"
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        hook.without_outer_links("[gone](../gone.md)", ROOT / "docs")
    assert "gone.md" in caplog.text


def test_the_records_page_names_every_status() -> None:
    text = (ROOT / "docs/records.md").read_text()
    names = {*(str(status) for status in Status), *(fault.status for fault in Fault.__subclasses__())}
    assert names == set(re.findall(r"`([A-Z]+(?:_[A-Z]+)*)`", text.partition("## Statuses")[2]))


@pytest.mark.parametrize("command", sorted(set(quoted_commands())))
def test_quoted_commands_are_understood(command: str) -> None:
    arguments = shlex.split(command, comments=True)[1:]
    found: click.Command | None = cli
    while isinstance(found, click.Group) and not arguments[0].startswith("-"):
        found = found.get_command(click.Context(found), arguments.pop(0))
    assert found is not None, "no such command"
    if not isinstance(found, click.Group):
        found.make_context("quoted", arguments)


def test_quoted_study_files_are_valid() -> None:
    studies = [block for block in code("toml") if block.startswith("name =")]
    assert studies
    for block in studies:
        parse(block, "quoted")
    fragments = [block for block in code("toml") if re.match(r"pruners|sandbox", block)]
    whole = 'name = "a"\ntargets = ["a"]\nsparsities = [0.5]\n'
    for block in fragments:
        parse(whole + ("" if block.startswith("pruners") else 'pruners = ["a"]\n') + block, "quoted")


@pytest.mark.parametrize(("number", "sparsity"), [(0, "0.5"), (1, "0.5"), (1, "2:4")])
def test_the_tutorials_pruners_prune(number: int, sparsity: str) -> None:
    names: dict[str, Any] = {"NotApplicable": NotApplicable}
    exec(code("python", "tutorial.md")[number], names)
    layer = FakeLayer()
    names["prune"](FakeTask(layer, sparsity))
    zeros = layer.weight == 0
    assert (zeros.sum(dim=1) == 20).all()
    if sparsity == "2:4":
        assert (zeros.unflatten(1, (-1, 4)).sum(dim=2) == 2).all()
        with pytest.raises(NotApplicable):
            names["prune"](FakeTask(layer, "rows:0.5"))


def test_the_python_example_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("harness.pipeline.open_sandbox", lambda name, runtime=None: ForkedSandbox())
    names: dict[str, Any] = {}
    exec(code("python", "python.md")[0], names)
    shown = capsys.readouterr().out
    assert shown.startswith("wanda OK")
    assert names["score"].sparsity == "2:4"
