from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from harness import text
from harness.conversion import open_target
from harness.errors import InputFault, UsageError
from harness.resources import bundled
from harness.targets import Target


@pytest.fixture(scope="module")
def target() -> Target:
    return open_target("testbed-llama")


def made(
    source: str,
    target: Target,
    seqlen: int | None = None,
    count: int | None = None,
    role: text.Role = "evaluation",
) -> np.ndarray:
    return text.windows(source, role, target, seqlen, count, seed=0).ids


def test_evaluation_is_one_stream_cut_without_overlap(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("The quick brown fox jumps over the lazy dog. " * 200)
    ids = made(f"text:{path}", target, 32, 5)
    stream = AutoTokenizer.from_pretrained(target.tokenizer_folder)(path.read_text(), add_special_tokens=False)
    assert ids.flatten().tolist() == stream["input_ids"][: 5 * 32]
    assert ids.dtype == np.int64


def test_calibration_is_seeded_and_from_other_articles_than_evaluation(target: Target) -> None:
    first, again = (text.windows("bundled", "calibration", target, 64, 8, seed=1) for _ in range(2))
    assert first.sha256 == again.sha256
    assert first.sha256 != text.windows("bundled", "calibration", target, 64, 8, seed=2).sha256
    calibration, evaluation = ((bundled("text") / f"{role}.txt").read_text() for role in ("calibration", "evaluation"))
    assert len(evaluation) > 200_000
    paragraphs = {line for line in calibration.splitlines() if len(line) > 80}
    assert not paragraphs & set(evaluation.splitlines())


def test_token_files_are_used_as_they_are(target: Target, tmp_path: Path) -> None:
    ids = np.arange(24, dtype=np.int32).reshape(3, 8)
    np.save(tmp_path / "ids.npy", ids)
    assert np.array_equal(made(f"tokens:{tmp_path}/ids.npy", target, role="calibration"), ids)
    assert np.array_equal(made(f"tokens:{tmp_path}/ids.npy", target, count=2), ids[:2])


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 8)), "int array"),
        (np.zeros(8, dtype=int), "int array"),
        (np.zeros((0, 8), dtype=int), "int array"),
        (np.zeros((2, 1), dtype=int), "at least 2"),
        (np.full((2, 8), 10**6), "vocabulary"),
        (np.full((2, 8), -1), "vocabulary"),
        (np.zeros((1, 4096), dtype=int), "at most"),
    ],
)
def test_tokens_that_do_not_fit_are_one_line(array: np.ndarray, words: str, target: Target, tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", array)
    with pytest.raises((UsageError, InputFault), match=words):
        made(f"tokens:{tmp_path}/bad.npy", target)


def test_bad_sources_are_one_line(target: Target, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "short.txt").write_text("a few words")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "pickle.npy").write_bytes(b"\x80\x04N.")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    np.save(tmp_path / "ids.npy", np.zeros((2, 8), dtype=int))
    for source, words in (
        ("text:/no/such", "no such file"),
        ("tokens:/no/such.npy", "no such file"),
        ("text:", "unknown text"),
        ("wiki", "unknown text"),
        (f"text:{tmp_path}/empty.txt", "empty"),
        (f"text:{tmp_path}/short.txt", "fewer than one window"),
        (f"text:{tmp_path}/latin.txt", "UTF-8"),
        (f"tokens:{tmp_path}/pickle.npy", "no .npy array"),
        (f"tokens:{tmp_path}/objects.npy", "no .npy array"),
        (f"tokens:{tmp_path}/latin.txt", "no .npy array"),
    ):
        with pytest.raises((UsageError, InputFault), match=words) as caught:
            made(source, target)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="leave --seqlen out"):
        made(f"tokens:{tmp_path}/ids.npy", target, seqlen=16)
    with pytest.raises(UsageError, match="windows were asked for"):
        made("bundled", target, count=10**6)


def test_a_token_file_with_fewer_windows_than_asked_for_is_refused(target: Target, tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.ones((3, 8), dtype=np.int64))
    source = f"tokens:{tmp_path / 'ids.npy'}"
    assert made(source, target, count=3).shape == (3, 8)
    with pytest.raises(UsageError, match="4 windows were asked for, but it has 3"):
        made(source, target, count=4)
