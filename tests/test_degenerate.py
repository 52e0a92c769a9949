"""Degenerate layers and calibrations: every reference gives a finite model, or says what is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedConfig

from harness import pruners
from harness.bench import Bench
from harness.pipeline import open_bench
from harness.records import Sparsity

from .conftest import VOCABULARY, llama_config
from .test_decoders import InProcess
from .test_references import NAMES

SPOILT = VOCABULARY - 1
"""A token of the calibration that the evaluation has not."""

Weights = dict[str, torch.Tensor]


def dead_feature(weights: Weights) -> None:
    """Feature 3 never reaches a layer of block 0."""
    for norm in ("input_layernorm", "post_attention_layernorm"):
        weights[f"model.layers.0.{norm}.weight"][3] = 0


def zero_row(weights: Weights) -> None:
    for layer in ("self_attn.q_proj", "mlp.up_proj", "mlp.down_proj"):
        weights[f"model.layers.1.{layer}.weight"][2] = 0


def zero_layer(weights: Weights) -> None:
    """A layer without weights, and the next one without inputs."""
    weights["model.layers.1.mlp.up_proj.weight"].zero_()


def few_tokens(_weights: Weights) -> None:
    """Nothing is wrong with the model: the calibration is one window of two tokens."""


def nan_activations(weights: Weights) -> None:
    weights["model.embed_tokens.weight"][SPOILT, 5] = torch.nan


def infinite_activations(weights: Weights) -> None:
    weights["model.embed_tokens.weight"][SPOILT, 5] = torch.inf


KINDS = (dead_feature, zero_row, zero_layer, few_tokens, nan_activations, infinite_activations)
USE_CALIBRATION = ("wanda", "sparsegpt", "movement", "first_order_movement", "owl_magnitude", "owl_wanda")


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def bench(
    request: pytest.FixtureRequest,
    save_model: Callable[[PreTrainedConfig], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Bench:
    """A tiny model that has biases, so that every pruner applies, spoilt in one way."""
    folder = save_model(llama_config(attention_bias=True, mlp_bias=True, tie_word_embeddings=False))
    weights = {key: value.clone() for key, value in load_file(folder / "model.safetensors").items()}
    request.param(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    drawn = np.random.default_rng(0)
    evaluation, calibration = drawn.integers(0, SPOILT, (3, 16)), drawn.integers(0, SPOILT, (4, 16))
    calibration[1, 7] = SPOILT
    texts = tmp_path_factory.mktemp("texts")
    np.save(texts / "evaluation.npy", evaluation)
    np.save(texts / "calibration.npy", calibration[:1, :2] if request.param is few_tokens else calibration)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.pipeline.open_sandbox", lambda *_, **__: InProcess())
        opened = open_bench(
            str(folder), calibration=f"tokens:{texts}/calibration.npy", evaluation=f"tokens:{texts}/evaluation.npy"
        )
    return replace(opened, limits=replace(opened.limits, threads=1))


@pytest.mark.parametrize("sparsity", ["0.5", "2:4"])
@pytest.mark.parametrize("name", NAMES)
def test_a_degenerate_layer_gives_a_finite_model_or_a_clear_status(name: str, sparsity: str, bench: Bench) -> None:
    score = bench.score(pruners.find(name), Sparsity.parse(sparsity))
    embedding = load_file(bench.target.folder / "model.safetensors")["model.embed_tokens.weight"]
    spoilt = not embedding.isfinite().all()
    if sparsity == "2:4" and name.startswith("owl_"):
        assert score.status == "NA"
    elif spoilt and name in USE_CALIBRATION:
        assert score.status == "RUNTIME_ERROR"
        assert score.error is not None
        assert score.error.type == "ArithmeticError"
        assert "finite" in score.error.message
    else:
        assert score.status == "OK", score.error
        assert score.perplexity is not None
        assert math.isfinite(score.perplexity)
