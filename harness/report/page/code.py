"""Python of anybody as HTML: highlighted by line, and only text."""

from __future__ import annotations

from html import escape

from pygments import lex
from pygments.lexers import PythonLexer
from pygments.token import Token

from harness.console import plain

_CHARACTERS = 200_000
_CLASSES = {
    Token.Keyword: "k",
    Token.Operator.Word: "k",
    Token.Literal.String: "s",
    Token.Literal.Number: "m",
    Token.Comment: "c",
    Token.Name.Function: "f",
    Token.Name.Class: "f",
    Token.Name.Builtin: "f",
}


def readable(text: str, limit: int) -> str:
    """Text of several lines, bounded: tabs become spaces, all lines end alike, and no control character is left."""
    return plain(text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    "), limit)


def highlighted(code: str, marked: int | None = None) -> str:
    """`code` as HTML, one element a line; the line `marked`, from 1, stands out.

    Nothing of the code is markup: every character of it is escaped, and what no screen should show is replaced.
    """
    lines = [""]
    shown = readable(code, _CHARACTERS)
    for kind, text in lex(shown, PythonLexer(stripnl=False, ensurenl=False)):
        style = next((name for token, name in _CLASSES.items() if kind[: len(token)] == token), None)
        first, *rest = (escape(part) for part in text.split("\n"))
        for place, part in enumerate((first, *rest)):
            if place:
                lines.append("")
            lines[-1] += f'<span class="{style}">{part}</span>' if style and part else part
    marks = [' class="hll"' if number == marked else "" for number in range(1, len(lines) + 1)]
    body = "".join(f"<span{mark}>{line}\n</span>" for mark, line in zip(marks, lines, strict=True))
    return f'<pre class="code">{body}</pre>'
