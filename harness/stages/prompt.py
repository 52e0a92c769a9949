"""Prompt: the question put to the generator, made from an idea, a template and the interface module."""

import ast
import hashlib
import re
from collections.abc import Iterator, Sequence

from harness.errors import UsageError
from harness.names import suggestion
from harness.records import Idea, Prompt
from harness.resources import resource, sandbox_package
from harness.templates import rendered, sources

DEFAULT_TEMPLATE = "one-pass"
REPAIR_TEMPLATE = "repair"
"""Of a prompt that hands a failed attempt back; in a folder of its own, so that it is no first prompt."""
_SUFFIX = ".md.j2"
_FENCE = 3
"""Backticks, at least."""


def render(idea: Idea, template: str = DEFAULT_TEMPLATE) -> Prompt:
    """Ask for `idea` with the template `prompts/<template>.md.j2`.

    Raises:
        UsageError: there is no such template, or it is broken.
    """
    folder = resource("prompts")
    known = templates()
    if template not in known:
        raise UsageError(f"no template {template[:80]!r}.{suggestion(template, known)} Known: {', '.join(known)}")
    file = folder / f"{template}{_SUFFIX}"
    # what comes out is Markdown, read by a model and never by a browser
    given = {"idea": idea, "interface": interface(), "outline": outline()}
    text = rendered(folder, file.name, autoescape=False, **given)
    return Prompt(idea, text, template, hashlib.sha256(b"".join(sources(folder, file.name))).hexdigest())


def render_repair(idea: Idea, *, code: str | None, answer: str | None, failures: Sequence[str]) -> Prompt:
    """Ask for `idea` once more, with what was answered and what went wrong.

    Args:
        idea: that of the failed attempt.
        code: its program, bounded and without control characters; None where there was none.
        answer: in its place what was answered; None where that is not known, either.
        failures: what went wrong, cleaned likewise; each of one or several lines.

    Raises:
        UsageError: the template is broken.
    """
    folder = resource("prompts") / "repair"
    file = folder / f"{REPAIR_TEMPLATE}{_SUFFIX}"
    wall = _wall([code or "", answer or "", *failures])
    values = {"code": code, "answer": answer, "failures": list(failures), "wall": wall}
    text = rendered(folder, file.name, autoescape=False, idea=idea, interface=interface(), **values)
    return Prompt(idea, text, REPAIR_TEMPLATE, hashlib.sha256(file.read_bytes()).hexdigest())


def _wall(texts: Sequence[str]) -> str:
    """A fence that none of the texts can close: longer than any run of backticks in them."""
    longest = max(len(run) for text in texts for run in re.findall("`+", text) or [""])
    return "`" * max(_FENCE, longest + 1)


def templates() -> list[str]:
    """The names of the templates in `prompts`."""
    return sorted(file.name.removesuffix(_SUFFIX) for file in resource("prompts").glob(f"*{_SUFFIX}"))


def interface() -> str:
    """The text of the interface module, the single source of what `prune(task)` is given."""
    return (sandbox_package() / "interface.py").read_text(encoding="utf-8")


def outline() -> str:
    """The interface module in few words: its classes and members, each with the first sentence about it."""
    classes = [node for node in ast.parse(interface()).body if isinstance(node, ast.ClassDef)]
    return (
        "\n\n".join("\n".join((f"class {one.name}:  # {_documented(one)}", *_members(one))) for one in classes) + "\n"
    )


def _members(owner: ast.ClassDef) -> Iterator[str]:
    for node, following in zip(owner.body, [*owner.body[1:], None], strict=True):
        match node, following:
            case ast.AnnAssign(), ast.Expr(ast.Constant(str(text))):
                yield f"    {ast.unparse(node)}  # {_first_sentence(text)}"
            case ast.FunctionDef(returns=ast.expr() as returns), _:
                is_property, returned = bool(node.decorator_list), ast.unparse(returns)
                call = (
                    f"{node.name}: {returned}"
                    if is_property
                    else f"{node.name}({ast.unparse(node.args)}) -> {returned}"
                )
                yield f"    {call}  # {_documented(node)}"


def _documented(node: ast.ClassDef | ast.FunctionDef) -> str:
    return _first_sentence(ast.get_docstring(node) or "")


def _first_sentence(text: str) -> str:
    return " ".join(text.split()).split(". ")[0].removesuffix(".")
