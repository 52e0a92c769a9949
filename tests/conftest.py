from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, OPTConfig, PreTrainedConfig

from harness import console
from harness.bench import Bench
from harness.errors import ImageFault
from harness.pipeline import open_bench
from harness.records import Pruner
from harness.resources import cache_folder
from harness.sandboxes import engine, image
from tests.forked_sandbox import ForkedSandbox
from tests.sandbox_runs import run  # noqa: F401 - a fixture

VOCABULARY = 96
SAVED = Callable[[PreTrainedConfig], Path]


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests convert and measure stays out of the user's cache; the real model is fetched once for both."""
    users, own = cache_folder(), tmp_path_factory.mktemp("cache")
    for name in ("SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m"):
        if (users / name).exists():
            (own / name).symlink_to(users / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(own))
        yield


@pytest.fixture(autouse=True)
def not_quiet() -> Iterator[None]:
    """A command that a test ran with --quiet leaves the console of later tests as it was."""
    yield
    console.set_quiet(False)


@pytest.fixture(scope="session")
def docker_lacks() -> str | None:
    """Why Docker cannot be used here; None where it can."""
    if not engine.answers():
        return "no Docker engine answers"
    try:
        image.image_id()
    except ImageFault as fault:
        return str(fault)
    return None


@pytest.fixture(autouse=True)
def needs_docker(request: pytest.FixtureRequest) -> None:
    """Tests that are marked so run on real Docker: never skipped where it is required, as in CI."""
    if request.node.get_closest_marker("docker"):
        lacks = request.getfixturevalue("docker_lacks")
        if lacks and not os.environ.get("HARNESS_REQUIRE_DOCKER"):
            pytest.skip(lacks)


@pytest.fixture(scope="session")
def save_model(tmp_path_factory: pytest.TempPathFactory) -> SAVED:
    """Saves a randomly initialised model of a config as a Hugging Face folder."""

    def save(config: PreTrainedConfig) -> Path:
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():  # biases and norms too, which start out constant
                parameter.add_(0.05 * torch.randn_like(parameter))
        folder = tmp_path_factory.mktemp("model")
        model.save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def llama(save_model: SAVED) -> Path:
    return save_model(llama_config())


@pytest.fixture(scope="session")
def opt(save_model: SAVED) -> Path:
    return save_model(
        OPTConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            word_embed_proj_dim=16,
            ffn_dim=40,
            num_hidden_layers=3,
            num_attention_heads=2,
            max_position_embeddings=32,
        )
    )


def llama_config(**changes: int | bool) -> LlamaConfig:
    sizes: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32,
        "tie_word_embeddings": True,
    }
    return LlamaConfig(**(sizes | changes))


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> str:
    """`tokens:` source of 6 windows of 16 ids for the tiny random models."""
    path = tmp_path_factory.mktemp("tokens") / "ids.npy"
    np.save(path, np.random.default_rng(0).integers(0, VOCABULARY, (6, 16)))
    return f"tokens:{path}"


@pytest.fixture(scope="session")
def llama_bench(llama: Path, tokens: str) -> Bench:
    return open_trusted(str(llama), calibration=tokens, evaluation=tokens)


@pytest.fixture(scope="session")
def opt_bench(opt: Path, tokens: str) -> Bench:
    return open_trusted(str(opt), calibration=tokens, evaluation=tokens)


def open_trusted(target: str, **arguments: object) -> Bench:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.pipeline.open_sandbox", lambda name, runtime=None: ForkedSandbox())
        return open_bench(target, **arguments)  # type: ignore[arg-type]


def pruner(source: str) -> Pruner:
    return Pruner("test", "human", source.encode())
