"""A pruned model as a Hugging Face folder, written block by block from the dense model and the checked bytes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from harness.targets import Target
from sandbox.streaming import find_blocks

_STORED = {"F16": torch.float16, "BF16": torch.bfloat16}
_DTYPE_NAMES = {torch.float16: "float16", torch.bfloat16: "bfloat16", torch.float32: "float32"}
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)


def write_model(target: Target, weights: Callable[[int], Mapping[str, torch.Tensor]], into: Path) -> str:
    """Write config, tokenizer and weights of a pruned model into an empty folder; gives the dtype that it loads in.

    A tensor is stored in the dense checkpoint's dtype where its values are exactly representable in that, else in
    float32; the config names the one dtype that holds them all, so that nothing is rounded when the folder is loaded.
    There is one shard for what surrounds the blocks, and one for each block; tied weights are written once.

    Args:
        target: the dense model.
        weights: for the index of a block, pruned weights by full parameter name, as the model stores them.
        into: an empty folder.
    """
    shards = list(_shards(target))
    dtypes = _stored_dtypes(target.folder)
    index: dict[str, str] = {}
    used: set[torch.dtype] = set()
    size = 0
    for number, (block, names) in enumerate(shards, 1):
        pruned = {} if block is None else weights(block)
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        tensors = {
            name: _exact(pruned[name] if name in pruned else target.checkpoint.tensor(name), dtypes[name])
            for name in names
        }
        save_file(tensors, into / file, metadata={"format": "pt"})
        index |= dict.fromkeys(tensors, file)
        used |= {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
        size += sum(tensor.nbytes for tensor in tensors.values())
    _write_json(into / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": index})
    dtype = _DTYPE_NAMES[used.pop() if len(used) == 1 else torch.float32]
    _write_config(target.folder, into, dtype)
    for folder, files in ((target.folder, ("generation_config.json",)), (target.tokenizer_folder, _TOKENIZER_FILES)):
        _copy(folder, files, into)
    return dtype


def _shards(target: Target) -> Iterator[tuple[int | None, list[str]]]:
    """The tensors of the model that the checkpoint holds: those around the blocks (None), then block by block."""
    model = target.checkpoint.skeleton()
    tie: Any = getattr(model, "tie_weights", None)
    if tie is not None:
        tie()
    prefix, blocks = find_blocks(model)
    parameters = dict(model.named_parameters())  # a tied one stands here once
    tied = set(dict(model.named_parameters(remove_duplicate=False))) - set(parameters)
    names = [name for name in model.state_dict() if name in target.checkpoint and name not in tied]
    yield None, [name for name in names if not name.startswith(f"{prefix}.")]
    for block in range(len(blocks)):
        yield block, [name for name in names if name.startswith(f"{prefix}.{block}.")]


def _stored_dtypes(folder: Path) -> dict[str, torch.dtype]:
    """The floating point dtype that each tensor of a folder is stored in; float32 for every other kind."""
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as handle:
            for name in handle.keys():  # noqa: SIM118 - it is no mapping
                found[name] = _STORED.get(handle.get_slice(name).get_dtype(), torch.float32)
    return found


def _exact(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`tensor` in `dtype` if that loses nothing."""
    if not tensor.is_floating_point():
        return tensor.contiguous()
    smaller = tensor.to(dtype)
    return (smaller if torch.equal(smaller.float(), tensor) else tensor).contiguous()


def _write_config(source: Path, into: Path, dtype: str) -> None:
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    legacy = "torch_dtype" in config
    config["dtype"] = dtype
    if legacy:
        config["torch_dtype"] = dtype
    _write_json(into / "config.json", config)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _copy(folder: Path | None, names: Iterable[str], into: Path) -> None:
    for name in names:
        if folder is not None and (folder / name).is_file():
            shutil.copyfile(folder / name, into / name)
