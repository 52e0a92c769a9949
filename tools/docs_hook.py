"""The parts of the site that are made from the program while `mkdocs build` runs, so that they cannot go stale.

A line ``*`make docs` puts here: NAME, from FILE.*`` becomes what the function NAME in `MAKERS` returns. A link to a
file of the repository outside docs/ becomes the file's path, since the site does not hold it.
"""

from __future__ import annotations

import ast
import inspect
import json
import logging
import os.path
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args, get_origin

import click

from harness.causes import Cause, Rule
from harness.cli import cli
from harness.errors import Fault
from harness.status import Status
from harness.study import Study, StudyGenerator

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
_MARK = re.compile(r"^\*`make docs` puts here: ([\w-]+), from [\w/.]+\.\*$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)\s#]+)(?:#[^)\s]*)?\)")
_KINDS: dict[object, str] = {
    **{str: "text", int: "whole number", float: "number", bool: "true or false"},
    StudyGenerator: "table",
}
_log = logging.getLogger("mkdocs.docs_hook")  # its warnings end a strict build


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """A page as MkDocs is to render it."""
    filled = _MARK.sub(lambda mark: MAKERS[mark[1]](), markdown)
    return without_outer_links(filled, Path(config.docs_dir, page.file.src_uri).parent)


def without_outer_links(markdown: str, folder: Path) -> str:
    """`markdown`, a page in `folder`, with paths in place of links that leave docs/; warns of what is not there."""

    def replaced(link: re.Match[str]) -> str:
        text, target = link[1], Path(os.path.normpath(folder / link[2]))
        if target.is_relative_to(ROOT / "docs"):
            return link[0]
        if not target.exists():
            _log.warning("%s: the link to %s leads to nothing", folder, link[2])
        path = target.relative_to(ROOT).as_posix()
        return f"`{path}`" if path.endswith(text.strip("`")) else f"{text} (`{path}`)"

    return _LINK.sub(replaced, markdown)


def commands() -> str:
    """Every command: what it does, its usage, its options, as its `--help` has them."""
    return "\n".join(_command(cli, "harness", None))


def _command(command: click.Command, name: str, parent: click.Context | None, level: int = 2) -> Iterator[str]:
    context = click.Context(command, parent, name, **command.context_settings)
    usage = context.get_usage().removeprefix("Usage: ")
    yield f"{'#' * level} {context.command_path}\n\n{inspect.cleandoc(command.help or '')}\n\n```text\n{usage}\n```\n"
    options = [option for option in command.get_params(context) if isinstance(option, click.Option)]
    records = [record for option in options if (record := option.get_help_record(context)) is not None]
    yield table(("option", "what"), ((f"`{names}`", _escaped(what)) for names, what in records))
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            yield from _command(found, inner, context, level + 1)


def study_keys() -> str:
    """The keys of a study file; what is an option of `harness run`, too, is described by its help."""
    run = cli.get_command(click.Context(cli), "run")
    assert run is not None
    helps = {option.opts[0]: option.help for option in run.params if isinstance(option, click.Option)}
    texts = attribute_texts("harness/study.py", "Study")
    rows = []
    for key, field in Study.model_fields.items():
        what = texts.get(key) or helps[f"--{key.replace('_', '-')}"] or ""
        example = str((field.examples or [""])[0]).removeprefix(f"{key} = ")
        default = "required" if field.is_required() else _toml(field.default)
        rows.append((f"`{key}`", _kind(field.annotation), default, f"`{example}`", _escaped(what)))
    return table(("key", "value", "default", "example", "what"), rows)


def generator_keys() -> str:
    """The keys of a table `[[generators]]`."""
    texts = attribute_texts("harness/study.py", "StudyGenerator")
    rows = (
        (
            f"`{key}`",
            _kind(field.annotation),
            "required" if field.is_required() else _toml(field.default),
            _escaped(texts[key]),
        )
        for key, field in StudyGenerator.model_fields.items()
    )
    return table(("key", "value", "default", "what"), rows)


def _kind(annotation: object) -> str:
    """A type, in words for who writes TOML."""
    if get_origin(annotation) is Literal:
        return " or ".join(_toml(value) for value in get_args(annotation))
    inner = [kind for kind in get_args(annotation) if kind is not type(None)]
    return (
        f"list of {_KINDS[inner[0]]}s" if get_origin(annotation) is list else _KINDS[inner[0] if inner else annotation]
    )


def _toml(value: object) -> str:
    """A value as a study file has it; empty for None, which stands for what `what` says."""
    return "" if value is None else f"`{json.dumps(value)}`"


def statuses() -> str:
    """Every status with its outcome, the stage that decides it, and what it says."""
    rows = ((f"`{status}`", status.outcome, status.stage, _escaped(status.meaning)) for status in Status)
    return table(("status", "outcome", "decided by", "what"), rows)


def causes() -> str:
    """Every cause of failure, and what is behind it."""
    return table(("cause", "what"), ((cause.value, _escaped(cause.meaning)) for cause in Cause))


def rules() -> str:
    """Every rule that an autopsy may name, in the words of the interface."""
    return table(("rule", "the interface says"), ((f"`{rule}`", _escaped(rule.words)) for rule in Rule))


def faults() -> str:
    """The faults of the harness, which are no status of a pruner."""
    rows = ((f"`{fault.status}`", _escaped(inspect.getdoc(fault) or "")) for fault in Fault.__subclasses__())
    return table(("fault", "what"), rows)


def interface() -> str:
    """The text of sandbox/interface.py: its words, then a table for each of its classes."""
    module = ast.parse((ROOT / "sandbox/interface.py").read_text(encoding="utf-8"))
    parts = [ast.get_docstring(module) or ""]
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            parts.append(f"## {node.name}\n\n{ast.get_docstring(node)}")
            if members := list(_members(node)):
                parts.append(table(("name", "type", "what"), members))
    return "\n\n".join(parts)


def _members(node: ast.ClassDef) -> Iterator[tuple[str, str, str]]:
    texts = _texts(node)
    for member in node.body:
        if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
            yield f"`{member.target.id}`", f"`{ast.unparse(member.annotation)}`", _escaped(texts[member.target.id])
        elif isinstance(member, ast.FunctionDef) and member.returns is not None:
            arguments = ", ".join(argument.arg for argument in member.args.args[1:])
            name = member.name if member.decorator_list else f"{member.name}({arguments})"
            yield f"`{name}`", f"`{ast.unparse(member.returns)}`", _escaped(ast.get_docstring(member) or "")


def attribute_texts(file: str, name: str) -> dict[str, str]:
    """The strings that stand under the attributes of a class, by attribute."""
    module = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return next(_texts(node) for node in module.body if isinstance(node, ast.ClassDef) and node.name == name)


def _texts(node: ast.ClassDef) -> dict[str, str]:
    found = {}
    for before, after in zip(node.body, node.body[1:], strict=False):
        target = before.targets[0] if isinstance(before, ast.Assign) else getattr(before, "target", None)
        value = after.value if isinstance(after, ast.Expr) else None
        if isinstance(target, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
            found[target.id] = value.value
    return found


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; cells are Markdown."""
    lines = [list(headings), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _escaped(text: str) -> str:
    """A text as one line of a cell."""
    return " ".join(text.split()).replace("|", "&#124;").replace("<", "&lt;")


MAKERS = {
    "commands": commands,
    "study-keys": study_keys,
    "generator-keys": generator_keys,
    "statuses": statuses,
    "causes": causes,
    "rules": rules,
    "faults": faults,
    "interface": interface,
}
