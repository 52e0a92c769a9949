"""Sizes of memory: one syntax in study files and on the command line; and labels of sparsities, one each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cli._options import _memory
from harness.errors import UsageError
from harness.records import Sparsity, Structure
from harness.sizes import LEAST_MEMORY_BYTES, MOST_MEMORY_BYTES, read_size
from harness.study import Study, parse

STUDY = 'name = "x"\ntargets = ["t"]\nsparsities = [0.5]\npruners = ["magnitude"]\n'


def in_a_study(value: str) -> Study:
    return parse(f"{STUDY}memory = {value}\n", "a.toml")


def on_the_command_line(text: str) -> int | None:
    return _memory(None, None, text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4g", 4 << 30),
        ("4G", 4 << 30),
        ("4 GiB", 4 << 30),
        ("4gb", 4 << 30),
        ("2GB", 2 << 30),
        ("128 MiB", 128 << 20),
        ("1.5g", 3 << 29),
        ("0.5 TiB", 1 << 39),
        ("268435456", 256 << 20),
        ("268435456 B", 256 << 20),
        ("262144K", 256 << 20),
        (" 512m ", 512 << 20),
        (str(MOST_MEMORY_BYTES), MOST_MEMORY_BYTES),
    ],
)
def test_a_size_is_the_same_in_a_study_and_on_the_command_line(text: str, size: int) -> None:
    assert in_a_study(f'"{text}"').memory == on_the_command_line(text) == read_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "much",
        "4 g g",
        "4x",
        "-4g",
        "4,5g",
        "1e9",
        "0x10000000",
        "g",
        "4 G i B",
        "9" * 400,
        "٤g",
        "inf",
        "nan",
        "1.g",
    ],
)
def test_what_is_no_size_is_one_line_in_both(text: str) -> None:
    with pytest.raises(UsageError, match=r"'memory' is wrong: .* is no size; write memory = \"4 GiB\"") as caught:
        in_a_study(f'"{text}"')
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=r"--memory: .* is no size; give a number with K, M, G or T"):
        on_the_command_line(text)


@pytest.mark.parametrize("text", ["127m", "0", "0.1g", "9223372036854775808", "9999999T"])
def test_a_size_out_of_bounds_is_refused_in_both(text: str) -> None:
    with pytest.raises(UsageError, match="'memory' is wrong"):
        in_a_study(f'"{text}"')
    with pytest.raises(UsageError, match=r"--memory .*give at least 128m, and less than 2\*\*63 bytes"):
        on_the_command_line(text)


@given(st.integers(LEAST_MEMORY_BYTES, MOST_MEMORY_BYTES))
def test_bytes_are_read_exactly(size: int) -> None:
    assert read_size(str(size)) == size == in_a_study(str(size)).memory


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("0.5", "0.5"),
        ("0.10", "0.1"),
        ("0", "0"),
        ("-0.0", "0"),
        (".5", "0.5"),
        ("5e-1", "0.5"),
        ("1e-5", "1e-05"),
        ("0.0001", "0.0001"),
        ("0.123456", "0.123456"),
        ("0.12345678", "0.12345678"),
        ("0.12345679", "0.12345679"),
        ("0.3333333333333333", "0.3333333333333333"),
        ("0.99999999", "0.99999999"),
        ("rows:0.50", "rows:0.5"),
        ("heads:0.12345678", "heads:0.12345678"),
        ("2:4", "2:4"),
        ("02:04", "2:4"),
    ],
)
def test_labels_are_exact_and_short(text: str, label: str) -> None:
    assert Sparsity.parse(text).label == label
    assert Sparsity.parse(label) == Sparsity.parse(text)


@given(st.floats(0, 1, exclude_max=True), st.sampled_from([None, "rows", "columns", "heads"]))
def test_a_label_gives_the_sparsity_back_and_those_that_did_are_as_ever(
    ratio: float, structure: Structure | None
) -> None:
    sparsity = Sparsity(abs(ratio), structure=structure)
    assert Sparsity.parse(sparsity.label) == sparsity
    before = f"{sparsity.ratio:g}"
    if float(before) == sparsity.ratio:
        assert sparsity.label == (before if structure is None else f"{structure}:{before}")


def test_two_near_sparsities_are_two_cells() -> None:
    read = parse(STUDY.replace("[0.5]", "[0.12345678, 0.12345679]"), "a.toml")
    assert read.sparsities == ["0.12345678", "0.12345679"]
