"""Targets opened: brought into the one form that is read, a config and safetensors named as the module's parameters."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from harness import console
from harness.errors import InputFault, StorageFault, UsageError
from harness.resources import bundled, cache_folder, check_room, is_file, is_folder
from harness.targets import NAMED, SMOLLM2, TESTBEDS, Target, smollm2_gguf
from sandbox.checkpoint import Checkpoint
from sandbox.streaming import UnsupportedModel, find_blocks
from sandbox.structure import layer_specs

_SEQLEN = 2048
_CALIBRATION_SAMPLES = 128
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "merges.txt")


def open_target(name: str) -> Target:
    """Find a target, convert it once where its weights are not stored as needed, and check that it can be read.

    Raises:
        UsageError: no such target.
        InputFault: it cannot be read, or its architecture is not supported.
        StorageFault: no room for the converted weights.
    """
    if name in TESTBEDS:
        folder = bundled("testbeds") / name
        return checked(Target(name, folder, folder, 256, 64, 64))
    if name == SMOLLM2:
        folder = once(cache_folder() / SMOLLM2, lambda into: from_gguf(smollm2_gguf(), into))
        return checked(Target(name, folder, folder, 512, 32, 32))
    source = Path(name)
    if not name or not is_folder(source):
        if is_file(source) or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
            known = ", ".join(NAMED)
            raise UsageError(f"no target {name[:200]!r}: give {known}, a model folder, or a hub id as in org/name")
        source = from_hub(name)
    return local(name, source)


def checked(target: Target) -> Target:
    """The target, once its architecture and weights were found to be readable.

    Raises:
        InputFault: they are not.
    """
    with _readable(target.name):
        _ = target.layers
    return target


def local(name: str, source: Path) -> Target:
    """A Hugging Face folder: read where it is if its tensors are named as needed, else converted into the cache.

    Raises:
        InputFault: it holds no readable model in safetensors.
        StorageFault: no room for the converted weights.
    """
    if not (source / "config.json").is_file():
        raise InputFault(f"{source} is no model folder: it has no config.json")
    if not any(source.glob("*.safetensors")):
        raise InputFault(f"{source} has no *.safetensors: save the model again with safe_serialization=True")
    with _readable(name):
        layer_specs(Checkpoint(source))  # refuses what is not supported before anything is converted
        skeleton = Checkpoint(source).skeleton()
        _check_depth(Checkpoint(source), skeleton)
        try:
            Checkpoint(source).check(skeleton)
            folder = source
        except KeyError:
            stamp = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(source.iterdir())]
            key = hashlib.sha256(repr((str(source.resolve()), stamp)).encode()).hexdigest()[:16]
            folder = cache_folder() / f"converted-{key}"
            if not folder.is_dir():
                check_room(sum(file.stat().st_size for file in source.glob("*.safetensors")), f"converting {name}")
            folder = once(folder, lambda into: _from_folder(source, into))
        positions = getattr(Checkpoint(folder).config, "max_position_embeddings", None)
    has_tokenizer = any((source / file).is_file() for file in _TOKENIZER_FILES[2:] + _TOKENIZER_FILES[:1])
    seqlen = min(_SEQLEN, positions or _SEQLEN)
    return checked(Target(name, folder, source if has_tokenizer else None, seqlen, _CALIBRATION_SAMPLES, None))


def _check_depth(checkpoint: Checkpoint, skeleton: torch.nn.Module) -> None:
    """See that the checkpoint has no more blocks than the config says: it would be another model.

    Raises:
        ValueError: it has.
    """
    prefix, blocks = find_blocks(skeleton)
    for name in checkpoint:
        index = name.removeprefix(f"{prefix}.").partition(".")[0]
        if name.startswith(f"{prefix}.") and index.isdecimal() and int(index) >= len(blocks):
            raise ValueError(f"the checkpoint holds {name}, but the config says {len(blocks)} blocks")


def from_hub(name: str) -> Path:
    """Download a model of the hub into its own cache.

    Raises:
        InputFault: the hub cannot be reached, or has no such model.
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - only for hub ids
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415

    patterns = ["*.safetensors", "config.json", "generation_config.json", "*.safetensors.index.json", *_TOKENIZER_FILES]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        first = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise InputFault(f"target {name!r} is no local folder and the hub did not give it: {first[0]}") from error


def from_gguf(gguf: Path, into: Path) -> None:
    """Dequantise a GGUF file to float32 and save it with its tokenizer."""
    console.notice(f"dequantising {gguf.name} once (about half a minute)")
    transformers_logging.disable_progress_bar()
    with _readable(gguf):
        loaded = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    _save(loaded, into)
    tokenizer.save_pretrained(into)


def once(folder: Path, make: Callable[[Path], None]) -> Path:
    """`folder`, made by `make` unless it is there; nothing half-written ever stands under its name.

    Raises:
        StorageFault: it cannot be written.
    """
    if folder.is_dir():
        return folder
    scratch = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        make(scratch)
        scratch.chmod(0o755)
        for file in scratch.iterdir():
            file.chmod(0o644)  # the sandbox's user reads them too
        try:
            scratch.rename(folder)
        except OSError:
            if not folder.is_dir():  # or else another process was quicker
                raise
    except (OSError, SafetensorError) as error:
        raise StorageFault(
            f"cannot write {folder}: {error}; make room, or set HARNESS_CACHE to another disk"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _from_folder(source: Path, into: Path) -> None:
    console.notice(f"converting {source} once")
    transformers_logging.disable_progress_bar()
    with _readable(source):
        loaded: Any
        about: dict[str, Any]
        loaded, about = AutoModelForCausalLM.from_pretrained(
            source,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype="auto",
            output_loading_info=True,
        )  # type: ignore[misc]
        if missing := sorted(about["missing_keys"]):  # transformers would make them up
            raise KeyError(f"the checkpoint lacks {missing[0]}")
    _save(loaded, into)


def _save(model: PreTrainedModel, into: Path) -> None:
    """Save under the module's own names; `named_parameters` gives a tied tensor once."""
    model.config.quantization_config = None
    del model.config.quantization_config
    model.config.save_pretrained(into)
    tensors = {name: parameter.detach().contiguous() for name, parameter in model.named_parameters()}
    save_file(tensors, into / "model.safetensors", metadata={"format": "pt"})


@contextmanager
def _readable(source: Path | str) -> Iterator[None]:
    try:
        yield
    except UnsupportedModel as error:
        raise InputFault(f"{source} cannot be pruned: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise InputFault(f"{source} holds no readable model: {console.plain(first[0], 300)}") from error
