"""Prompt: the question put to the generator, made from an idea, a template and the interface module."""

import hashlib

from harness.errors import UsageError
from harness.names import suggestion
from harness.records import Idea, Prompt
from harness.resources import resource, sandbox_package
from harness.templates import rendered

DEFAULT_TEMPLATE = "one-pass"
_SUFFIX = ".md.j2"


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
    text = rendered(folder, file.name, autoescape=False, idea=idea, interface=interface())
    return Prompt(idea, text, template, hashlib.sha256(file.read_bytes()).hexdigest())


def templates() -> list[str]:
    """The names of the templates in `prompts`."""
    return sorted(file.name.removesuffix(_SUFFIX) for file in resource("prompts").glob(f"*{_SUFFIX}"))


def interface() -> str:
    """The text of the interface module, the single source of what `prune(task)` is given."""
    return (sandbox_package() / "interface.py").read_text(encoding="utf-8")
