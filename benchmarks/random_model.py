"""A Llama checkpoint of random weights in float16, written shard by shard so that little memory is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig

_DEVIATION = 0.02


def make(folder: Path, hidden: int, intermediate: int, blocks: int, heads: int, vocabulary: int, seqlen: int) -> int:
    """Write config and weights, one shard for each block and one for the rest, and return the bytes of the weights.

    A folder that holds the same model already is left as it is: `model.done` says that it is whole.

    Raises:
        ValueError: the folder holds something else.
    """
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=seqlen,
        tie_word_embeddings=False,
        dtype=torch.float16,
    )
    sizes, done = repr((hidden, intermediate, blocks, heads, vocabulary, seqlen)), folder / "model.done"
    if not done.is_file():
        if folder.exists() and any(folder.glob("*.safetensors")):
            raise ValueError(f"{folder} holds weights that this program did not finish: empty it or give another")
        folder.mkdir(parents=True, exist_ok=True)
        config.save_pretrained(folder)
        generator = torch.Generator().manual_seed(0)
        for block in range(blocks):
            save_file(_block(block, hidden, intermediate, generator), folder / f"block-{block:03d}.safetensors")
        around = {
            f"{name}.weight": _drawn((vocabulary, hidden), generator) for name in ("model.embed_tokens", "lm_head")
        }
        save_file(around | {"model.norm.weight": torch.ones(hidden, dtype=torch.float16)}, folder / "rest.safetensors")
        for file in folder.glob("*.safetensors"):
            file.chmod(0o644)  # else each run makes a copy that the sandbox's user can read
        done.write_text(sizes)
    if done.read_text() != sizes:
        raise ValueError(f"{folder} holds a model of other sizes: empty it or give another")
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def make_tokens(file: Path, vocabulary: int, windows: int, seqlen: int) -> None:
    """Random token ids, int64 [windows, seqlen]."""
    np.save(file, np.random.default_rng(0).integers(0, vocabulary, (windows, seqlen)))


def _block(block: int, hidden: int, intermediate: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    prefix = f"model.layers.{block}."
    shapes = {f"self_attn.{name}_proj": (hidden, hidden) for name in "qkvo"}
    shapes |= {"mlp.gate_proj": (intermediate, hidden), "mlp.up_proj": (intermediate, hidden)}
    shapes |= {"mlp.down_proj": (hidden, intermediate)}
    norms = ("input_layernorm", "post_attention_layernorm")
    tensors = {f"{prefix}{name}.weight": _drawn(shape, generator) for name, shape in shapes.items()}
    return tensors | {f"{prefix}{name}.weight": torch.ones(hidden, dtype=torch.float16) for name in norms}


def _drawn(shape: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    """Row by row in float32, so that the large matrices are never there twice."""
    drawn = torch.empty(shape, dtype=torch.float16)
    for rows in drawn.split(1024):
        rows.copy_(_DEVIATION * torch.randn(rows.shape, generator=generator))
    return drawn
