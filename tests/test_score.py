"""Perplexity against an independent float64 computation on the whole model."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from harness.bench import Bench
from harness.errors import ScorerFault
from harness.records import Sparsity

from .conftest import open_trusted, pruner

MASK = "def prune(task):\n    for layer in task.layers():\n        layer.keep(layer.weight > layer.weight.median())\n"


def float64_perplexity(folder: Path, ids: np.ndarray, masked: bool) -> float:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    if masked:
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear) and ".layers." in name:
                median = module.weight.detach().float().median()
                module.weight.data *= module.weight > median
    losses = []
    with torch.no_grad():
        for window in torch.from_numpy(ids):
            log = torch.log_softmax(model(input_ids=window[None]).logits[0], dim=-1)
            losses.append(-log[torch.arange(len(window) - 1), window[1:]].mean().item())
    return math.exp(sum(losses) / len(losses))


@pytest.mark.parametrize("model", ["llama", "opt"])
def test_perplexity_agrees_with_float64(model: str, request: pytest.FixtureRequest) -> None:
    bench: Bench = request.getfixturevalue(f"{model}_bench")
    ids = bench.evaluation.ids
    assert bench.dense_perplexity == pytest.approx(float64_perplexity(bench.target.folder, ids, False), rel=1e-5)
    score = bench.score(pruner(MASK), Sparsity.parse("0.4"))
    assert score.perplexity == pytest.approx(float64_perplexity(bench.target.folder, ids, True), rel=1e-5)
    assert score.perplexity_low is not None
    assert score.perplexity_high is not None
    assert score.perplexity is not None
    assert score.perplexity_low < score.perplexity < score.perplexity_high


def test_only_the_checked_bytes_count(llama_bench: Bench) -> None:
    """Whatever a pruner does to norms, head, loss and clock, its score is that of the same mask, bit for bit."""
    cheat = (
        "import time, torch\n" + MASK + "    model = task.model\n"
        "    model.lm_head.weight.data.zero_()\n"
        "    model.model.norm.weight.data.mul_(9)\n"
        "    torch.nn.functional.cross_entropy = lambda *a, **k: torch.tensor(0.0)\n"
        "    time.monotonic = lambda: 0.0\n"
        "    print('perplexity: 1.0')\n"
    )
    honest, cheated = (llama_bench.score(pruner(source), Sparsity.parse("0.4")) for source in (MASK, cheat))
    assert cheated.status == "OK", cheated.error
    assert honest.window_losses == cheated.window_losses


def test_sparsity_zero_and_nothing_done_is_dense(llama_bench: Bench) -> None:
    score = llama_bench.score(pruner("def prune(task): pass"), Sparsity.parse("0"))
    assert score.status == "OK"
    assert score.perplexity == llama_bench.dense_perplexity == score.dense_perplexity


def test_the_protocol_names_everything_that_decides_a_number(llama: Path, tokens: str, tmp_path: Path) -> None:
    def protocol(**changes: object) -> str:
        arguments = {"calibration": tokens, "evaluation": tokens} | changes
        return open_trusted(str(llama), **arguments).measurement.id

    other = tmp_path / "other.npy"
    np.save(other, np.random.default_rng(1).integers(0, 96, (6, 16)))
    ids = [
        protocol(),
        protocol(eval_windows=3),
        protocol(calibration_samples=3),
        protocol(statistics="dense"),
        protocol(evaluation=f"tokens:{other}"),
        protocol(calibration=f"tokens:{other}"),
    ]
    assert len(set(ids)) == len(ids)
    assert protocol() == protocol(seed=5) == ids[0]


def test_weights_that_overflow_the_model_are_no_score(llama_bench: Bench) -> None:
    source = "def prune(task):\n    for layer in task.layers():\n        layer.weight = layer.weight * 1e30\n"
    score = llama_bench.score(pruner(source + "        layer.weight[:, ::2] = 0"), Sparsity.parse("0.5"))
    assert (score.status, score.perplexity) == ("NON_FINITE", None)


def test_a_broken_dense_model_is_our_fault(llama_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.bench.window_losses", lambda *_: [float("nan")])
    monkeypatch.setattr("harness.bench.arithmetic", lambda _device: ("another", "machine", 1))
    with pytest.raises(ScorerFault, match="no finite perplexity"):
        _ = replace(llama_bench).dense_losses
