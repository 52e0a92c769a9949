"""Readers of what others wrote, on bytes that hypothesis makes: from nothing, from valid ones, and by grammar."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.readers import READERS

FIXED = settings(derandomize=True, database=None, deadline=None, max_examples=80)
"""The same inputs in every run; `tools/fuzz.py` looks for others."""
ROOT = Path(__file__).parent.parent.parent


@cache
def seeds_of(name: str) -> list[bytes]:
    return READERS[name].seeds()


SPOILING = [b"\xff" * 4, b"\0\0\xc0\x7f", b"\x80\x7f", b"\xff", b"\n", b"\xed\xa0\x80", b"[" * 2000]


def part(place: tuple[bytes, float]) -> bytes:
    data, where = place
    begin = int(where * len(data))
    return data[begin : begin + 60]


@st.composite
def edited(draw: st.DrawFn, name: str) -> bytes:
    """A valid input with a few places overwritten, cut out, repeated, or with a bit flipped."""
    seeds = seeds_of(name)
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(data)))
        end = draw(st.one_of(st.just(begin), st.integers(begin, min(len(data), begin + 40))))
        new = draw(
            st.one_of(
                st.binary(max_size=8),
                st.integers(0, 7).map(lambda bit: bytes([data[begin] ^ 1 << bit]) if begin < len(data) else b""),  # noqa: B023
                st.sampled_from(SPOILING),
                st.tuples(st.sampled_from(seeds), st.floats(0, 1)).map(part),
            )
        )
        data = data[:begin] + new + data[max(end, begin + (len(new) == 1)) :]
    return data


@pytest.mark.parametrize("name", READERS)
def test_any_bytes(name: str) -> None:
    @FIXED
    @given(st.binary(max_size=600))
    def check(data: bytes) -> None:
        READERS[name].check(data)

    check()


@pytest.mark.parametrize("name", READERS)
def test_valid_inputs_and_edited_ones(name: str) -> None:
    for seed in seeds_of(name):
        READERS[name].check(seed)

    @FIXED
    @given(edited(name))
    def check(data: bytes) -> None:
        READERS[name].check(data)

    check()


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.just("\ud800"), st.just("x" * 9000)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=30), st.dictionaries(st.text(max_size=9), inner)),
    max_leaves=30,
)


def objects(keys: list[str], words: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(keys), st.one_of(st.sampled_from(words), VALUES))


@FIXED
@given(
    st.integers(0, 255),
    objects(
        ["kind", "type", "message", "line", "traceback", "prune_seconds", "uniform", "notes"],
        ["NA", "OK", "TIMEOUT", "RUNTIME_ERROR", "BAD_OUTPUT", "RESOURCE_LIMIT"],
    ),
)
def test_reports_of_any_json(choice: int, report: dict[str, Any]) -> None:
    READERS["report"].check(bytes([choice]) + json.dumps(report).encode())


MANIFEST_KEYS = ["id", "model", "idea", "status", "message", "files", "sample", "x"]


@FIXED
@given(
    objects(MANIFEST_KEYS, ["sample/l1-norm-pruning/01", "NO_CODE", "OK", "../../01"]),
    st.sets(st.sampled_from(MANIFEST_KEYS), max_size=2),
)
def test_manifests_of_any_json(changes: dict[str, Any], missing: set[str]) -> None:
    manifest = json.loads(seeds_of("manifest")[0]) | changes
    left = {key: value for key, value in manifest.items() if key not in missing}
    READERS["manifest"].check(json.dumps(left).encode())


@FIXED
@given(objects(["format", "members", "study", "counts"], ["1", "tiny\ntiny", "\x1b[2J"]))
def test_manifests_of_packs_of_any_json(changes: dict[str, Any]) -> None:
    READERS["pack-manifest"].check(json.dumps(json.loads(seeds_of("pack-manifest")[0]) | changes).encode())


PIECES = st.sampled_from(
    [
        *(
            "```",
            "````",
            "~~~",
            "```python\n",
            "\n```\n",
            "python",
            "markdown",
            "\n",
            "\n\n",
            "\r\n",
            "\r",
            " ",
            "    ",
        ),
        *("def prune(task):\n", "    pass\n", "import torch\n", "class A:\n", "prune = ", "(", "[", "lambda:", "f'{"),
        *("<think>", "</think>", '"""', "> ", "- ", "1. ", "I'm sorry, I cannot", "\\\n", "\x00", "\ufeff", "é"),
        *("    ", "-", "\t", "\u2028"),
    ]
)


@settings(FIXED, max_examples=300)
@given(
    st.booleans(),
    st.one_of(
        st.text(),
        st.lists(PIECES, max_size=40).map("".join),
        st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=40).map("".join),
        st.lists(st.tuples(PIECES, st.sampled_from([1, 2, 150, 3000])), max_size=4).map(
            lambda parts: "".join(piece * times for piece, times in parts)
        ),
    ),
)
def test_answers_of_fences_thoughts_and_code(truncated: bool, text: str) -> None:
    READERS["answer"].check(bytes([255 * truncated]) + text.encode("utf-8", "replace"))


TOML = st.recursive(
    st.one_of(
        st.integers().map(str),
        st.floats().map(str),
        st.text(max_size=12).map(json.dumps),
        st.sampled_from(["0.5", '"2:4"', '"rows:0.5"', "true", "2026-01-01", "25:00:00", "{a.b = 1}", "1e400"]),
        st.sampled_from(['"4 GiB"', '"magnitude"', '"x\\ny"', "'''\n'''", '"\\ud800"']),
        st.sampled_from(["[" * 3000, "9" * 5000, "0x" + "f" * 5000]),
    ),
    lambda inner: st.lists(inner, max_size=4).map(lambda values: f"[{', '.join(values)}]"),
    max_leaves=6,
)
STUDY_KEYS = ["name", "targets", "sparsities", "pruners", "seqlen", "timeout", "memory", "seed", "kl", "a.b", '"x\\ny"']


@FIXED
@given(st.dictionaries(st.sampled_from(STUDY_KEYS), TOML), st.booleans())
def test_studies_of_any_toml(changes: dict[str, str], whole: bool) -> None:
    valid = {"name": '"x"', "targets": '["t"]', "sparsities": '[0.5, "2:4"]', "pruners": '["magnitude"]'}
    lines = [f"{key} = {value}" for key, value in ((valid if whole else {}) | changes).items()]
    READERS["study"].check("\n".join(lines).encode("utf-8", "replace"))


def test_the_fuzzer_runs_and_finds_nothing(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris is not installed")
    command = [sys.executable, str(ROOT / "tools" / "fuzz.py"), "answer", "--runs", "400", "--seed", "1"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "DONE" in done.stderr
    assert not list((tmp_path / "fuzz-findings").iterdir())
