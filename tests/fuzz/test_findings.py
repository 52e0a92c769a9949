"""What fuzzing found, so that it stays mended; the names of the tests say what was wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness import pack
from harness.cli import cli
from harness.errors import UsageError
from harness.study import parse
from tests.fuzz.readers import READERS

STUDY = 'name = "x"\ntargets = ["t"]\nsparsities = [0.5]\npruners = ["magnitude"]\n'
MANIFEST = json.loads(READERS["manifest"].seeds()[0])
LISTED = pack.digests({pack.RESULTS: b"x", "a/b": b"y"})


@pytest.mark.parametrize(
    ("reader", "data"),
    [
        pytest.param("study", b"a = 9" + b"9" * 5000, id="ValueError of a number of 5001 digits"),
        pytest.param("study", b"a = " + b"[" * 5000, id="RecursionError of nested arrays"),
        pytest.param("study", b"a = " + b"{a=" * 5000, id="RecursionError of nested tables"),
        pytest.param("study", f"{STUDY}memory = 0x{'f' * 5000}".encode(), id="a number that cannot be written down"),
        pytest.param("study", f"{STUDY}seqlen = 0x{'f' * 5000}".encode(), id="another that cannot"),
        pytest.param("study", f"{STUDY}{'k' * 9000} = 1".encode(), id="a message of 9000 characters"),
        pytest.param("study", STUDY.encode() + b'text = "\xff"', id="a text that UTF-8 cannot"),
        pytest.param("manifest", json.dumps(MANIFEST | {"model": "\ud800"}).encode(), id="half a character"),
        pytest.param("manifest", json.dumps(MANIFEST | {"idea": {"slug": "\udfff"}}).encode(), id="the other half"),
        pytest.param(
            "manifest", json.dumps(MANIFEST | {"message": "\ud800"}).encode(), id="half a character in a message"
        ),
        pytest.param(
            "manifest",
            json.dumps({key: value for key, value in MANIFEST.items() if key != "message"}).encode(),
            id="KeyError of a manifest without a message",
        ),
        pytest.param("pack-manifest", b'{"format": "a\\nb", "members": {}}', id="a format of two lines"),
    ],
)
def test_found(reader: str, data: bytes) -> None:
    READERS[reader].check(data)


def test_many_values_that_are_distinct_take_no_square_of_their_number() -> None:
    many = ", ".join(f'"{number}"' for number in range(50_000))
    assert len(parse(STUDY.replace('"magnitude"', many), "a.toml").pruners) == 50_000
    with pytest.raises(UsageError, match="'7' stands in it twice"):
        parse(STUDY.replace('"magnitude"', f'{many}, "7"'), "a.toml")


def test_minus_nothing_is_no_second_sparsity() -> None:
    with pytest.raises(UsageError, match="'0' stands in it twice"):
        parse(STUDY.replace("[0.5]", "[0.0, -0.0]"), "a.toml")


def test_the_study_that_a_pack_names_is_shown_in_one_line(tmp_path: Path) -> None:
    manifest = {"format": 1, "members": LISTED, "study": "x\nsha256 0000"}
    content = pack.build({pack.MANIFEST: json.dumps(manifest).encode(), pack.RESULTS: b"x", "a/b": b"y"})
    (tmp_path / "x.zip").write_bytes(content)
    result = CliRunner().invoke(cli, ["verify", str(tmp_path / "x.zip")])
    assert result.exit_code == 0
    assert result.output.count("\n") == 2
