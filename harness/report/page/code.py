"""Python of anybody as HTML: highlighted, numbered, and only text."""

from __future__ import annotations

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from harness.console import plain

_CHARACTERS = 200_000


def highlighted(code: str, marked: int | None = None) -> str:
    """`code` as HTML whose every character is escaped, with line numbers; the line `marked` stands out.

    Pygments writes spans of classes and nothing else of the code's.
    """
    lines = [] if marked is None else [marked]
    formatter = HtmlFormatter(linenos="table", hl_lines=lines, cssclass="code", wrapcode=True)
    shown = code if len(code) <= _CHARACTERS else code[:_CHARACTERS] + "\n# […]"
    return str(highlight(_visible(shown), PythonLexer(stripnl=False, ensurenl=False), formatter))


def _visible(code: str) -> str:
    """Control and direction characters of code that wants to look like other code, as what they are."""
    return plain(code.replace("\t", "    ").replace("\r", "␍"), _CHARACTERS + 100)
