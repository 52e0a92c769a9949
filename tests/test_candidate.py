"""Code out of completions: a corpus of styles, and text that nobody would write."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.records import SOURCE_BYTES, Completion
from harness.stages.candidate import Extraction, extract
from harness.status import Status

CORPUS = Path(__file__).parent / "completions"
CASES = json.loads((CORPUS / "cases.json").read_text())


def answer(text: str, finish_reason: str | None = "stop", refusal: str | None = None) -> Extraction:
    return extract(Completion("m", text, finish_reason, refusal, {}, {}, 0.0, "2026-01-01T00:00:00+00:00"))


@pytest.mark.parametrize("name", sorted(file.stem for file in CORPUS.glob("*.txt")))
def test_corpus(name: str) -> None:
    case = CASES.get(name, {})
    text = (CORPUS / f"{name}.txt").read_bytes().decode()
    source, status, message = answer(text, case.get("finish_reason", "stop"))
    assert status == case.get("status")
    if status is None:
        assert source == (CORPUS / f"{name}.expected").read_text()
        assert message is None
    else:
        assert source is None
        assert message


def test_a_refusal_of_the_endpoint_keeps_its_words() -> None:
    assert answer("", "stop", "I can't help with that.") == (None, Status.REFUSED, "I can't help with that.")


def test_code_that_is_too_large_or_no_utf8_is_rejected() -> None:
    assert answer("```python\ndef prune(t): pass\n" + "#" * SOURCE_BYTES + "\n```")[1] is Status.REJECTED_SOURCE
    assert answer("```python\ndef prune(t): return '\ud800'\n```")[1] is Status.REJECTED_SOURCE


@pytest.mark.filterwarnings("error")
def test_warnings_of_the_parser_stay_inside() -> None:
    assert answer('```python\ndef prune(t): return "\\d"\n```').status is None


@pytest.mark.parametrize(
    "text",
    [
        "```python\n" + "-" * 500_000 + "1\nprune\n```",
        "```python\nprune\na" + ".a" * 100_000 + "\n```",
        "```python\nprune = " + "not " * 100_000 + "x\n```",
        "```python\nprune = " + "(" * 100_000 + "\n```",
        "```python\nprune = " + "9" * 10_000 + "\n```",
        "```python\nprune = '\0'\n```",
        "```\n" * 50_000,
        "````md\n" * 50_000,
        "```python\ndef prune(\n```\n" * 5_000,
        ">" * 200_000,
        "`" * 200_000,
        "def prune\n" * 20_000,
    ],
    ids=str.__len__,
)
def test_hostile_text_is_survived(text: str) -> None:
    answer(text)


PIECES = st.sampled_from(
    [
        "```",
        "````",
        "~~~",
        "python",
        "\n",
        "def prune(task):\n",
        "    pass\n",
        "<think>",
        "</think>",
        '"""',
        "> ",
        "- ",
        "import torch\n",
        "class A:\n",
        "markdown",
        " ",
        "    ",
        "\t",
        "I'm sorry, I cannot",
        "\r\n",
        "\x00",
        "\ud800",
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.text(), st.lists(PIECES).map("".join), st.lists(st.one_of(PIECES, st.text(max_size=5))).map("".join)),
    st.sampled_from(["stop", "length", "content_filter", None]),
)
@example("def prune\nx", "stop")
def test_extract_never_raises(text: str, finish_reason: str | None) -> None:
    source, status, message = answer(text, finish_reason)
    assert (source is None) == (status is not None)
    assert (message is None) == (status is None)
    if source is not None:
        assert source.encode().decode() == source
        assert source.endswith("\n")
