"""The bundled sample candidates come to the statuses that they are labelled with, on both testbeds."""

from __future__ import annotations

import json

import pytest

from harness import pruners
from harness.pipeline import open_bench
from harness.records import Sparsity
from harness.resources import resource

EXPECTED: dict[str, str] = json.loads((resource("generated/sample") / "expected.json").read_text())


def test_there_is_a_sample_for_each_of_the_ten_ideas() -> None:
    assert len(EXPECTED) == 10
    samples = {name for name in pruners.candidates() if name.startswith("sample/")}
    assert samples == {f"sample/{idea}/01" for idea in EXPECTED}


@pytest.mark.parametrize("target", ["testbed-llama", "testbed-opt"])
def test_samples_come_to_their_labels(target: str, docker_lacks: str | None) -> None:
    level = "bubblewrap" if docker_lacks else "docker"
    bench = open_bench(target, calibration_samples=8, eval_windows=4, timeout_seconds=120, sandbox=level)
    found = {}
    for idea in EXPECTED:
        score = bench.score(pruners.find(f"sample/{idea}/01"), Sparsity.parse("0.5"))
        assert score.author == "model"
        assert (score.perplexity is not None) == (score.status == "OK")
        found[idea] = score.status
    assert found == EXPECTED
