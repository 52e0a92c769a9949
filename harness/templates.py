"""Jinja2: templates that refuse names they were not given."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError

if TYPE_CHECKING:
    from jinja2 import Environment


def rendered(folder: Path, name: str, /, *, autoescape: bool, **values: Any) -> str:
    """The template `name` of a folder with `values`; for a browser, `autoescape` makes every value text.

    Raises:
        UsageError: the template is broken.
    """
    import jinja2  # noqa: PLC0415 - not needed to list ideas

    try:
        return _environment(folder, autoescape).get_template(name).render(**values)
    except jinja2.TemplateError as error:
        raise UsageError(f"template {name.partition('.')[0]!r} is broken: {error}") from None


def sources(folder: Path, name: str) -> list[bytes]:
    """The text of the template `name` and of the parts that it includes, each once.

    Raises:
        UsageError: the template or a part is broken or missing.
    """
    import jinja2  # noqa: PLC0415
    from jinja2.meta import find_referenced_templates  # noqa: PLC0415

    environment, loader = _environment(folder, False), jinja2.FileSystemLoader(folder)
    found: dict[str, str] = {}
    waiting = [name]
    try:
        while waiting:
            if (one := waiting.pop(0)) not in found:
                found[one] = loader.get_source(environment, one)[0]
                waiting += filter(None, find_referenced_templates(environment.parse(found[one])))
    except jinja2.TemplateError as error:
        raise UsageError(f"template {name.partition('.')[0]!r} is broken: {error}") from None
    return [text.encode() for text in found.values()]


@cache
def _environment(folder: Path, autoescape: bool) -> Environment:
    """It compiles a template once."""
    import jinja2  # noqa: PLC0415

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        autoescape=autoescape,  # noqa: S701 - off for prompts alone, which no browser reads
        keep_trailing_newline=True,
        trim_blocks=autoescape,
        lstrip_blocks=autoescape,
    )
