"""Calibration as a choice: random tokens as a control, and the program that measures what the choice does."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import calibration
from harness.conversion import open_target
from harness.errors import UsageError
from harness.text import windows
from tests.forked_sandbox import ForkedSandbox

from .conftest import VOCABULARY, open_trusted


def test_random_tokens_are_uniform_and_follow_the_seed(llama: Path) -> None:
    target = open_target(str(llama))
    found = windows("random", "calibration", target, 20, 500, 7)
    assert found.ids.shape == (500, 20)
    assert found.ids.dtype == np.int64
    counts = np.bincount(found.ids.ravel(), minlength=VOCABULARY)
    expected = 10_000 / VOCABULARY
    assert len(counts) == VOCABULARY
    assert ((counts - expected) ** 2 / expected).sum() < 160  # chi-squared of 95 degrees: above that once in 30,000
    assert windows("random", "calibration", target, 20, 500, 7).sha256 == found.sha256
    assert windows("random", "calibration", target, 20, 500, 8).sha256 != found.sha256


def test_random_tokens_need_no_tokenizer_and_measure_nothing(llama: Path, tokens: str) -> None:
    bench = open_trusted(str(llama), calibration="random", calibration_samples=3, evaluation=tokens)
    assert bench.calibration.ids.shape == (3, 32)
    assert bench.measurement.calibration == "random"
    with pytest.raises(UsageError, match="random tokens are for calibration alone"):
        open_trusted(str(llama), calibration=tokens, evaluation="random")


def test_the_program_measures_each_choice(
    llama: Path, tokens: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.pipeline.open_sandbox", lambda name, runtime=None: ForkedSandbox())
    arguments = ["--target", str(llama), "--sparsity", "0.5", "--pruners", "magnitude", "--sources", "random"]
    calibration.main([*arguments, "--samples", "2", "--seeds", "0,1", "--eval", tokens])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert lines[0] == "| pruner | calibration | windows | seeds | perplexity | least | most |"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert [row[:4] for row in rows] == [["magnitude", "random", "2", "2"]]
    assert rows[0][4] == rows[0][5] == rows[0][6]  # magnitude pruning looks at no calibration
    assert float(rows[0][4]) > 1


def test_the_mean_of_the_table_is_the_geometric_one() -> None:
    row = calibration.table_row("wanda", "random", 2, [4.0, 9.0])
    assert re.fullmatch(r"\| wanda \| random \| 2 \| 2 \| 6\.000 \| 4\.000 \| 9\.000 \|", row)
    assert calibration.table_row("wanda", "random", 2, []) == "| wanda | random | 2 | 0 |  |  |  |"
