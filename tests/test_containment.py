"""Candidates that must be survived, on both levels of isolation, with the real worker and a real model.

Each file of `tests/candidates` says in its first lines what it must come to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness import pruners
from harness.pipeline import Bench, open_bench
from harness.records import Limits, Sparsity

CANDIDATES = sorted((Path(__file__).parent / "candidates").glob("*.py"))
LEVELS = [pytest.param("docker", marks=pytest.mark.docker), "bubblewrap"]


@pytest.fixture(scope="module")
def benches(tokens: str, llama: Path) -> Iterator[dict[str, Bench]]:
    yield {}


@pytest.fixture
def bench(request: pytest.FixtureRequest, benches: dict[str, Bench], tokens: str, llama: Path) -> Bench:
    level: str = request.param
    if level not in benches:
        benches[level] = open_bench(str(llama), calibration=tokens, evaluation=tokens, sandbox=level)
    return benches[level]


def expected(file: Path, level: str) -> str:
    text = file.read_text()
    own = re.search(rf"^# expect-{level}: (\w+)$", text, re.MULTILINE)
    general = re.search(r"^# expect: (\w+)$", text, re.MULTILINE)
    assert general is not None, file
    return (own or general)[1]


@pytest.mark.parametrize("bench", LEVELS, indirect=True)
@pytest.mark.parametrize("file", CANDIDATES, ids=lambda file: file.stem)
def test_it_is_contained_and_judged(file: Path, bench: Bench) -> None:
    limits = Limits(timeout_seconds=25, memory_bytes=1 << 30, threads=1)
    score = replace(bench, limits=limits).score(pruners.find(str(file)), Sparsity.parse("0.5"))
    assert score.status == expected(file, bench.isolation), score.error
    assert (score.outcome, score.perplexity) == ("Error", None)
    if file.stem == "opens_socket":
        assert score.error is not None
        assert score.error.message == "nothing was reached"


@pytest.mark.parametrize("bench", LEVELS, indirect=True)
def test_an_honest_pruner_scores_the_same_as_without_a_sandbox(bench: Bench, llama_bench: Bench) -> None:
    for name in ("magnitude", "sparsegpt"):
        inside, outside = (b.score(pruners.find(name), Sparsity.parse("2:4")) for b in (bench, llama_bench))
        assert inside.status == "OK", inside.error
        assert inside.window_losses == pytest.approx(outside.window_losses, rel=1e-6)
        assert inside.sandbox_seconds is not None
        assert (inside.peak_memory_bytes is None) == (bench.isolation == "bubblewrap")
