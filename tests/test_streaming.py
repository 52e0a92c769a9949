"""The streamed model is the model: same logits, for architectures that pass and return different things."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedConfig

from harness import conversion
from harness.errors import InputFault
from sandbox import streaming
from sandbox.checkpoint import Checkpoint
from sandbox.streaming import StreamedModel, UnsupportedModel, layer_specs

from .conftest import VOCABULARY, llama_config

SMALL: dict[str, Any] = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
LLAMA_LIKE = SMALL | {"intermediate_size": 24, "num_key_value_heads": 1, "head_dim": 8}
CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": llama_config,
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=0
    ),
    "opt": lambda: transformers.OPTConfig(**SMALL, ffn_dim=24, word_embed_proj_dim=8, max_position_embeddings=32),
    "qwen3": lambda: transformers.Qwen3Config(**LLAMA_LIKE),
    "gemma3": lambda: transformers.Gemma3TextConfig(**LLAMA_LIKE | {"sliding_window": 4, "sliding_window_pattern": 2}),
    "falcon": lambda: transformers.FalconConfig(**SMALL),
    "bloom": lambda: transformers.BloomConfig(vocab_size=VOCABULARY, hidden_size=16, n_layer=2, n_head=2),
    "phi3": lambda: transformers.Phi3Config(**SMALL, intermediate_size=24, pad_token_id=0, eos_token_id=0),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_the_models_own(
    name: str, save_model: Callable[[PreTrainedConfig], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "BATCH_TOKENS", 32)  # so that the last batch is smaller than the others
    folder = save_model(CONFIGS[name]())
    ids = torch.randint(0, VOCABULARY, (5, 16), generator=torch.Generator().manual_seed(1))
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    streamed = StreamedModel(Checkpoint(folder))
    with torch.no_grad():
        hidden = streamed.embed(ids)
        for block in range(streamed.blocks):
            hidden = torch.cat(list(streamed.run_block(block, hidden)))
        logits = torch.cat(
            [streamed.logits(row, states) for row, states in zip(ids.split(1), hidden.split(1), strict=True)]
        )
        torch.testing.assert_close(logits, reference(input_ids=ids).logits, rtol=1e-4, atol=1e-5)


def test_layers_come_in_the_order_in_which_they_run(opt: Path) -> None:
    names = [layer.name.removeprefix("model.decoder.layers.0.") for layer in layer_specs(Checkpoint(opt))[:6]]
    assert names == ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "fc1", "fc2"]


def test_transposed_weights_are_told(save_model: Callable[[PreTrainedConfig], Path]) -> None:
    layers = layer_specs(Checkpoint(save_model(CONFIGS["gpt2"]())))
    fused = next(layer for layer in layers if layer.name.endswith("attn.c_attn"))
    assert (fused.shape, fused.transposed, fused.bias) == ((48, 16), True, True)


def test_expert_tensors_are_refused_by_name(save_model: Callable[[PreTrainedConfig], Path]) -> None:
    config = transformers.MixtralConfig(**LLAMA_LIKE, num_local_experts=2)
    model = AutoModelForCausalLM.from_config(config)
    names = [name for name, parameter in model.named_parameters() if parameter.dim() == 3]
    assert names
    with pytest.raises(InputFault, match=r"mixtral cannot be pruned: .*mlp\..* is in no linear layer"):
        conversion.local("mixtral", save_model(config))


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="no list of decoder blocks"):
        streaming.find_blocks(torch.nn.Linear(2, 2))
