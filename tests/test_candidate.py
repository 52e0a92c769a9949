"""Code out of completions: a corpus of styles, and text that nobody would write."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.answers import Extraction, read
from harness.errors import Fault
from harness.records import SOURCE_BYTES, Completion
from harness.stages import candidate
from harness.stages.candidate import extract
from harness.status import Status

CORPUS = Path(__file__).parent / "completions"
CASES = json.loads((CORPUS / "cases.json").read_text())


def completed(text: str, finish_reason: str | None = "stop", refusal: str | None = None) -> Completion:
    return Completion("m", text, finish_reason, refusal, {}, {}, 0.0, "2026-01-01T00:00:00+00:00")


def answer(text: str, finish_reason: str | None = "stop") -> Extraction:
    """What the child would find, without the start of a child for each of many texts."""
    return read(text, finish_reason == "length")


@pytest.mark.parametrize("name", sorted(file.stem for file in CORPUS.glob("*.txt")))
def test_corpus(name: str) -> None:
    case = CASES.get(name, {})
    text = (CORPUS / f"{name}.txt").read_bytes().decode()
    finish_reason = case.get("finish_reason", "stop")
    source, status, message = (
        extract(completed(text, finish_reason)) if finish_reason == "content_filter" else answer(text, finish_reason)
    )
    assert status == case.get("status")
    if status is None:
        assert source == (CORPUS / f"{name}.expected").read_text()
        assert message is None
    else:
        assert source is None
        assert message


def test_a_refusal_of_the_endpoint_keeps_its_words() -> None:
    words = "I can't help with that."
    assert extract(completed("", "stop", words)) == (None, Status.REFUSED, words)


@pytest.mark.parametrize("name", ["thinking", "unicode", "cut-in-code", "refusal-curly", "prose-only"])
def test_the_child_finds_what_its_parser_finds(name: str) -> None:
    text = (CORPUS / f"{name}.txt").read_bytes().decode()
    finish_reason = CASES.get(name, {}).get("finish_reason", "stop")
    assert extract(completed(text, finish_reason)) == answer(text, finish_reason)


def test_long_thoughts_are_no_long_answer() -> None:
    code = "def prune(t): pass\n"
    assert extract(completed(f"<think>{'x ' * 1_500_000}</think>\n```python\n{code}```")) == (code, None, None)
    assert extract(completed("x" * (1 << 17) + "x")).message == "the answer has 131073 characters"
    assert extract(completed("x" * (4 << 20) + "x")).message == "the completion has 4194305 characters"


def test_an_answer_that_takes_too_much_ends_its_child_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidate, "_MEMORY_BYTES", 16 << 20)
    message = "the answer cannot be read: it takes too much memory"
    assert extract(completed("x" * (4 << 20))) == (None, Status.REJECTED_SOURCE, message)
    monkeypatch.undo()
    monkeypatch.setattr(candidate, "_CPU_SECONDS", 1)
    assert "SIGXCPU" in str(extract(completed("~~~md\n" * 21_000)).message)


def test_a_crash_of_the_parser_ends_its_child_alone() -> None:
    """With a small stack CPython's parser does crash on an expression of 5990 levels."""
    program = (
        "from harness.records import Completion; from harness.stages.candidate import extract\n"
        "text = '```python\\nprune = ' + '-' * 5990 + '1\\n```'\n"
        "print(extract(Completion('m', text, 'stop', None, {}, {}, 0.0, '')))"
    )
    command = ["sh", "-c", 'ulimit -s 256 && exec "$@"', "sh", sys.executable, "-c", program]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "REJECTED_SOURCE" in done.stdout
    assert "SIGSEGV" in done.stdout


def test_a_child_that_cannot_start_is_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(Fault, match="could not be read"):
        extract(completed("x"))


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
        "    a\n> ```python\n" * 7_000,
        "- a\n  - b\n" * 13_000,
    ],
    ids=str.__len__,
)
def test_hostile_text_is_survived(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No fault of ours, and read to its end, in a third of the child's time: no signal and no limit stops it."""
    monkeypatch.setattr(candidate, "_CPU_SECONDS", candidate._CPU_SECONDS // 3)
    message = extract(completed(text)).message or ""
    assert "cannot be read: its parsing ended by" not in message
    assert "too much memory" not in message
