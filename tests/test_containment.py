"""A sandbox changes no number: reference pruners on both levels of isolation, and on none.

Candidates that must be survived are in `tests/corpus`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import pruners
from harness.bench import Bench
from harness.pipeline import open_bench
from harness.records import Sparsity

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


@pytest.mark.parametrize("bench", LEVELS, indirect=True)
def test_an_honest_pruner_scores_the_same_as_without_a_sandbox(bench: Bench, llama_bench: Bench) -> None:
    for name in ("magnitude", "sparsegpt"):
        inside, outside = (b.score(pruners.find(name), Sparsity.parse("2:4")) for b in (bench, llama_bench))
        assert inside.status == "OK", inside.error
        assert inside.window_losses == pytest.approx(outside.window_losses, rel=1e-6)
        assert inside.sandbox_seconds is not None
        assert (inside.peak_memory_bytes is None) == (bench.isolation == "bubblewrap")
