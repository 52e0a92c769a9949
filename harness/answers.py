"""Answers: the program in a model's text, and a child process that looks for it. Only this module imports markdown-it.

An answer is hostile text: it is parsed, never run. What it may cost is bounded three times: by limits on what is looked
at, by CPU time and memory of the child, and because a crash of the parser ends the child alone.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import textwrap
import warnings
from typing import TYPE_CHECKING, NamedTuple

from harness.records import SOURCE_BYTES
from harness.status import Status

if TYPE_CHECKING:
    from markdown_it.token import Token

_ANSWER_CHARACTERS = 1 << 17
"""Of an answer without the thoughts before it."""
_BLOCKS = 100
"""Of an answer with more blocks, the last ones count."""
_QUOTED_LINES = 300
"""In an answer with more, quotes are not opened: markdown-it takes the square of their number."""
_PYTHON = {"python", "python3", "py", "py3", "ipython", "ipython3"}
_INDENTED = "(indented)"
_WRAPPERS = {"", "markdown", "md", "text", "txt", _INDENTED}
"""Languages of blocks that models put around a whole answer, with its code blocks inside."""
_DEF_PRUNE = re.compile(r"^(?:async\s+)?def\s+prune\b", re.MULTILINE)
_LOOKS_PYTHON = re.compile(r"^[ \t]*(?:def|class|import|from|async\s+def|@\w|for|while|if|with)\b", re.MULTILINE)
_FIRST_LINE = re.compile(r"(?:import\s+\w|from\s+[\w.]+\s+import\b|(?:async\s+)?def\s+\w+\s*\(|class\s+\w+\s*[:(]|@\w)")
_CODE_LINE = re.compile(
    r"\s|$|[#@)\]}\"']|(?:import|from|def|class|async|if|elif|else|for|while|with|try|except|finally|return|del|raise"
    r"|assert|pass|global)\b|\w[\w.\[\]]*(?:, *[\w.\[\]]+)*,?\s*(?::\s*[\w.\[\]]+\s*)?[-+*/|&]?=|[\w.]+\("
)
_FENCE_OPENING = re.compile(r"^[ \t]*(?:`{3,}|~{3,})", re.MULTILINE)
_QUOTED_LINE = re.compile(r"^[-*+\d.) \t]*>", re.MULTILINE)
_FENCE_LINE = re.compile(r" {0,3}(?:`{3,}|~{3,})\s*$")
_REFUSAL = re.compile(
    r"\W*(?:i'm sorry|i am sorry|sorry|i apologi[sz]e|unfortunately|i can'?t|i cannot|i'm unable|i am unable"
    r"|i'm not able|i won't|as an ai)\b.{0,400}?\b(?:can'?t|cannot|can not|unable|not able|won't|will not"
    r"|decline)\b",
    re.IGNORECASE | re.DOTALL,
)


class Extraction(NamedTuple):
    """The source, or a status and a message that say why there is none."""

    source: str | None
    status: Status | None
    message: str | None


class _Block(NamedTuple):
    code: str
    language: str
    closed: bool
    lines: tuple[int, int] | None
    """First line of the fence and line after it, for blocks that begin at the margin of the answer itself."""


def read(text: str, truncated: bool) -> Extraction:
    """The program in an answer; `truncated` where the answer ends at its token limit."""
    answer = _without_thinking(re.sub(r"\r\n?", "\n", text))
    if len(answer) > _ANSWER_CHARACTERS:
        return Extraction(None, Status.REJECTED_SOURCE, f"the answer has {len(answer)} characters")
    code = _choose(answer, truncated)
    if code is not None:
        return _checked(code)
    if truncated:
        return Extraction(None, Status.TRUNCATED, "the answer hit its token limit before its code was complete")
    if not answer.strip():
        return Extraction(None, Status.NO_CODE, "the answer is empty")
    if len(answer) < 2000 and _REFUSAL.match(answer.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")):
        return Extraction(None, Status.REFUSED, "the model declined to write the program")
    return Extraction(None, Status.NO_CODE, "the answer holds no Python code")


def _without_thinking(text: str) -> str:
    """The text after a reasoning model's thoughts; some endpoints leave out the opening tag."""
    opened = re.match(r"\s*<(think|thinking|reasoning)>", text)
    tag = opened[1] if opened else "think"
    head, closing, tail = text.partition(f"</{tag}>")
    if closing and (opened or "<think>" not in head):
        return tail
    return "" if opened else text


def _choose(answer: str, truncated: bool) -> str | None:
    """The code to run: the last block that defines `prune`, or else the nearest thing to one."""
    found = _blocks(answer)[-_BLOCKS:]
    blocks = [block for block in found if block.language != _INDENTED]
    if truncated:  # what was cut may parse by chance: only a whole block counts
        return next((b.code for b in reversed(blocks) if b.closed and _defines_prune(b.code)), None)
    for block in reversed(blocks):
        if _defines_prune(block.code):
            return block.code
    for block in blocks[:-5:-1]:
        if (longer := _stretched(block, answer)) is not None:
            return longer
    for block in reversed(blocks):
        if _DEF_PRUNE.search(block.code):  # a syntax error, for the sandbox to say
            return block.code
    if (code := _unfenced(answer)) is not None:
        return code
    for block in reversed(found):
        if _defines_prune(block.code):
            return block.code
    python = [b.code for b in blocks if b.language in _PYTHON or (not b.language and _LOOKS_PYTHON.search(b.code))]
    return max(python, key=len, default=None)


def _blocks(text: str, depth: int = 0) -> list[_Block]:
    """The fenced blocks of Markdown in order; those inside a wrapping block, instead of it."""
    from markdown_it import MarkdownIt  # noqa: PLC0415 - only needed here

    parser = MarkdownIt("zero").enable(["fence", "code", "list"])
    if len(_QUOTED_LINE.findall(text)) <= _QUOTED_LINES:
        parser.enable("blockquote")
    parser.core.ruler.disable("inline", ignoreInvalid=True)
    blocks: list[_Block] = []
    for token in parser.parse(text):
        if token.type == "fence":
            block = _fence(token, at_margin=depth == 0 and token.level == 0)
        elif token.type == "code_block":
            block = _Block(token.content, _INDENTED, True, None)
        else:
            continue
        inner = _blocks(block.code, depth + 1) if _wraps(block) and depth < 3 else []
        if inner:
            blocks += [b._replace(closed=b.closed or block.closed) for b in inner]
        elif block.code.strip():
            blocks.append(block)
    return blocks


def _wraps(block: _Block) -> bool:
    """Whether `block` may hold a whole answer rather than code."""
    return (
        block.language in _WRAPPERS and _FENCE_OPENING.search(block.code) is not None and not _defines_prune(block.code)
    )


def _fence(token: Token, *, at_margin: bool) -> _Block:
    language = re.search(r"[a-z0-9+#]+", token.info.lower())
    start, end = token.map or [0, 0]
    closed = end - start == token.content.count("\n") + 2
    code = token.content.lstrip("\ufeff")
    if _parse(code) is None and _parse(dedented := textwrap.dedent(code)) is not None:
        code = dedented
    return _Block(code, language[0] if language else "", closed, (start, end) if at_margin else None)


def _stretched(block: _Block, answer: str) -> str | None:
    """`block` up to a later fence, where a fence in a docstring ended it too early."""
    if block.lines is None or block.language not in _PYTHON:
        return None
    lines = answer.split("\n")
    start, end = block.lines
    fences = [n for n in range(end, len(lines)) if _FENCE_LINE.match(lines[n])][:4]
    for fence in fences:
        code = "\n".join(lines[start + 1 : fence])
        if _defines_prune(code):
            return code
    return None


def _unfenced(answer: str) -> str | None:
    """Code that stands in the answer without a fence: all of it, or the lines from its first to its last."""
    tree = _parse(answer)
    definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom
    if tree is not None and any(isinstance(node, definitions) for node in tree.body):
        return answer.strip("\n")
    if not _DEF_PRUNE.search(answer):
        return None
    lines = answer.split("\n")
    first = next((n for n, line in enumerate(lines) if _FIRST_LINE.match(line)), len(lines))
    last = next((n for n in range(first, len(lines)) if not _CODE_LINE.match(lines[n])), len(lines))
    code = "\n".join(lines[first:last]).rstrip()
    return code if _DEF_PRUNE.search(code) else None


def _parse(code: str) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they would quote the model's text
        try:
            return ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _defines_prune(code: str) -> bool:
    """Whether `code` parses, and binds `prune` at its top level by `def` or by an assignment."""
    tree = _parse(code) if "prune" in code else None
    for node in tree.body if tree is not None else []:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == "prune":
            return True
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "prune" for t in node.targets):
            return True
    return False


def _checked(code: str) -> Extraction:
    """`code` with one newline at its end, if it can be a file."""
    code = code.rstrip("\n") + "\n"
    try:
        size = len(code.encode())
    except UnicodeEncodeError:
        return Extraction(None, Status.REJECTED_SOURCE, "the code holds characters that UTF-8 cannot")
    if size > SOURCE_BYTES:
        return Extraction(None, Status.REJECTED_SOURCE, f"the code has {size} bytes; at most {SOURCE_BYTES} are run")
    return Extraction(code, None, None)


def _child(cpu_seconds: int, memory_bytes: int) -> None:
    """Read a text and whether it is truncated from standard input as JSON, and write the extraction so."""
    import resource  # noqa: PLC0415 - of Unix, and only needed here

    limits = ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, cpu_seconds), (resource.RLIMIT_AS, memory_bytes))
    for which, limit in limits:
        hard = resource.getrlimit(which)[1]
        resource.setrlimit(which, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    try:
        text, truncated = json.load(sys.stdin)
        found = read(text, truncated)
    except (MemoryError, RecursionError):
        found = Extraction(None, Status.REJECTED_SOURCE, "the answer cannot be read: it takes too much memory")
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    _child(*map(int, sys.argv[1:]))
