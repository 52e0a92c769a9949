"""Several seeds: pruners that draw are scored with each, and their spread counts in intervals and ranks."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from harness import metrics, pruners
from harness.bench import Bench
from harness.comparison import compared
from harness.frames import read
from harness.records import Sparsity
from harness.stages.leaderboard import leaderboard
from harness.store import Store
from harness.study import parse
from harness.study_run import run
from tests.conftest import pruner

HALF = Sparsity.parse("0.5")
FAILS_WITH_ONE = """
import torch
def prune(task):
    if torch.initial_seed() == 1:
        raise ValueError("unlucky")
    for layer in task.layers():
        scores = torch.rand(layer.weight.shape, generator=task.generator)
        layer.keep(scores > scores.median(dim=1, keepdim=True).values)
"""


def test_what_draws_is_a_mean_over_seeds_and_the_rest_is_not(llama_bench: Bench) -> None:
    same = llama_bench.score(pruners.find("magnitude"), HALF, seeds=3)
    assert same.seed_perplexities == ()
    drawn = llama_bench.score(pruners.find("random"), HALF, seeds=3, again=True)
    assert drawn.repeatable is True
    assert len(set(drawn.seed_perplexities)) == 3
    assert drawn.perplexity == pytest.approx(math.exp(np.log(drawn.seed_perplexities).mean()), rel=1e-9)
    assert drawn.perplexity == pytest.approx(metrics.perplexity(drawn.window_losses or ()), rel=1e-9)
    alone = metrics.interval(drawn.window_losses or ())
    assert alone is not None
    assert drawn.perplexity_low is not None
    assert drawn.perplexity_low < alone[0]
    assert "mean of 3 seeds" in leaderboard([drawn], rank_isolation="any")["notes"][0]


def test_a_failure_with_one_seed_is_a_failure(llama_bench: Bench) -> None:
    assert llama_bench.score(pruner(FAILS_WITH_ONE), HALF).status == "OK"
    score = llama_bench.score(pruner(FAILS_WITH_ONE), HALF, seeds=2)
    assert (score.status, score.perplexity) == ("RUNTIME_ERROR", None)
    assert score.error is not None
    assert score.error.message == "with seed 1: unlucky"


def test_a_study_keeps_them(tmp_path: Path, llama_bench: Bench) -> None:
    cells = 'targets = ["one"]\nsparsities = [0.5]\npruners = ["magnitude", "random"]\n'
    text = f'name = "s"\n{cells}seeds = 2\nrepeat = false\n'
    with Store(tmp_path / "results.sqlite") as store:
        run(parse(text, "s.toml"), store, lambda *_, **__: llama_bench)
        by_name = {score.pruner: score for score in store.scores()}
    assert by_name["magnitude"].seed_perplexities == ()
    assert len(by_name["random"].seed_perplexities) == 2
    frame = read(tmp_path / "results.sqlite").scores.set_index("pruner")
    assert list(frame["seeds"]) == [1, 2]
    assert frame.loc["random", "seed_low"] == min(by_name["random"].seed_perplexities)


@pytest.mark.parametrize("seeds", [2, 5])
@pytest.mark.parametrize("spread", [0.02, 0.2])
def test_intervals_and_comparisons_hold_when_seeds_vary(seeds: int, spread: float) -> None:
    """By simulation: two equal pruners, whose losses vary by window and by seed; the truth is 0."""
    random = np.random.default_rng(seeds)
    covered, claimed, studies = 0, 0, 1500
    for _ in range(studies):
        windows = random.normal(0, 0.5, 24)
        first, second = (_study(random, windows, seeds, spread) for _ in range(2))
        bounds = metrics.interval(first[0], seed_error=first[1])
        assert bounds is not None
        covered += bounds[0] < 1 < bounds[1]
        (pair,) = compared({"a": first[0], "b": second[0]}, {"a": first[1], "b": second[1]})
        claimed += pair.is_significant
    noise = 3 * math.sqrt(0.95 * 0.05 / studies)
    assert covered / studies > 0.95 - noise
    assert claimed / studies < 0.05 + noise


def _study(random: np.random.Generator, windows: np.ndarray, seeds: int, spread: float) -> tuple[np.ndarray, float]:
    losses = np.stack([windows + random.normal(0, spread) + random.normal(0, 0.05, windows.size) for _ in range(seeds)])
    error = metrics.seed_error(np.exp(losses.mean(axis=1)), windows.size)
    return losses.mean(axis=0), error
