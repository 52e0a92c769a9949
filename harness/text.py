"""Calibration and evaluation text as windows of token ids."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness.errors import InputFault, UsageError
from harness.names import install
from harness.resources import bundled, is_file

if TYPE_CHECKING:
    from harness.targets import Target

Role = Literal["calibration", "evaluation"]


@dataclass(frozen=True)
class Windows:
    """Token ids, int64 [n, seqlen], with where they came from and their sha256."""

    source: str
    ids: np.ndarray

    @property
    def sha256(self) -> str:
        """Of the shape and the ids."""
        shape = "x".join(map(str, self.ids.shape)).encode()
        return hashlib.sha256(shape + self.ids.astype("<i8").tobytes()).hexdigest()


def windows(source: str, role: Role, target: Target, seqlen: int | None, count: int | None, seed: int) -> Windows:
    """Calibration windows, drawn at random places as Wanda's code does, or the first evaluation windows of a text.

    Args:
        source: `bundled`, `wikitext2`, `c4`, `text:FILE`, `tokens:FILE.npy` (int [n, seqlen], used as it is), or, to
            calibrate, `random`: ids drawn uniformly from the vocabulary, a control that has no language in it.
        role: decides which part of a source is used.
        target: its tokenizer makes the tokens; none is added at the start.
        seqlen: tokens a window; None for the target's own (a `tokens:` file has its own).
        count: windows; None for the target's own number, or for all.
        seed: of the random places, or ids.

    Raises:
        UsageError: unknown source, missing file, text too short, tokens that do not fit the target.
        InputFault: a source cannot be read, or the hub cannot be reached.
    """
    kind, _, path = source.partition(":")
    if kind == "tokens" and path:
        ids = _fitting(_token_file(Path(path)), source, target, seqlen)
        if count is not None and count > len(ids):
            raise UsageError(f"{source}: {count} windows were asked for, but it has {len(ids)}")
        return Windows(source, ids[:count])
    seqlen = seqlen or target.seqlen
    if source == "random" and role == "calibration":
        size = (count or target.calibration_samples, seqlen)
        drawn = np.random.default_rng(seed).integers(0, int(target.checkpoint.config.vocab_size), size=size)
        return Windows(source, _fitting(drawn, source, target, seqlen))
    stream = _tokenised(_text(source, role), source, target)
    if len(stream) < seqlen + (role == "calibration"):
        raise UsageError(f"{source}: {len(stream)} tokens are fewer than one window of {seqlen}; use a longer text")
    if role == "evaluation":
        whole = len(stream) // seqlen
        count = count or target.windows or whole
        if count > whole:
            raise UsageError(f"{source}: {count} windows were asked for, but it has {whole} of {seqlen} tokens")
        ids = stream[: count * seqlen].reshape(count, seqlen)
    else:
        count = count or target.calibration_samples
        starts = np.random.default_rng(seed).integers(0, len(stream) - seqlen, size=count)
        ids = np.stack([stream[start : start + seqlen] for start in starts])
    return Windows(source, _fitting(ids, source, target, seqlen))


def prompt_ids(prompt: str, target: Target, tokens: int) -> np.ndarray:
    """A prompt as ids, int64 [1, n], with the special tokens that the target's tokenizer puts at its start.

    Raises:
        UsageError: the target has no tokenizer, the prompt is empty, or it and `tokens` more are too long.
        InputFault: the tokenizer cannot be read.
    """
    if target.tokenizer_folder is None:
        raise UsageError(f"{target.name} has no tokenizer: a prompt needs one, so leave --text out")
    ids = np.asarray(_tokenizer(target.tokenizer_folder)(prompt, verbose=False)["input_ids"], dtype=np.int64)
    if not prompt.strip() or not len(ids):
        raise UsageError("the prompt is empty: give some words, as in --text 'University is'")
    positions = getattr(target.checkpoint.config, "max_position_embeddings", None)
    if positions is not None and len(ids) + tokens > positions:
        raise UsageError(
            f"the prompt's {len(ids)} tokens and {tokens} more are too long: {target.name} takes {positions}"
        )
    return ids[None]


def decoded(ids: Sequence[int], target: Target) -> str:
    """The text of token ids, special tokens included.

    Raises:
        InputFault: the target's tokenizer cannot be read.
    """
    assert target.tokenizer_folder is not None, "whoever made a prompt's ids has a tokenizer"
    text: str = _tokenizer(target.tokenizer_folder).decode(ids, clean_up_tokenization_spaces=False)
    return text


def _token_file(path: Path) -> np.ndarray:
    if not is_file(path):
        raise UsageError(f"tokens:{path}: no such file")
    try:
        ids: np.ndarray = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputFault(f"tokens:{path} is no .npy array of integers; save one with numpy.save") from error
    if not isinstance(ids, np.ndarray) or ids.ndim != 2 or ids.dtype.kind not in "iu" or 0 in ids.shape:
        found = f"{ids.dtype} {list(ids.shape)}" if isinstance(ids, np.ndarray) else type(ids).__name__
        raise InputFault(f"tokens:{path} must hold an int array [n, seqlen], not {found}")
    return ids


def _fitting(ids: np.ndarray, source: str, target: Target, seqlen: int | None) -> np.ndarray:
    """`ids` as int64, if the target can take them."""
    config = target.checkpoint.config
    vocabulary = int(config.vocab_size)
    if seqlen is not None and ids.shape[1] != seqlen:
        raise UsageError(f"{source} has windows of {ids.shape[1]} tokens: leave --seqlen out or make it the same")
    if ids.shape[1] < 2:
        raise UsageError(f"{source}: windows of {ids.shape[1]} token leave nothing to predict; use at least 2")
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and ids.shape[1] > positions:
        raise UsageError(f"{source}: {target.name} takes windows of at most {positions} tokens, not {ids.shape[1]}")
    if ids.min() < 0 or ids.max() >= vocabulary:
        raise UsageError(f"{source}: ids must lie in [0, {vocabulary}), the vocabulary of {target.name}")
    return ids.astype(np.int64)


def _tokenised(text: str, source: str, target: Target) -> np.ndarray:
    if not text.strip():
        raise UsageError(f"{source}: the text is empty")
    if target.tokenizer_folder is None:
        raise UsageError(f"{target.name} has no tokenizer: give its text as tokens:FILE.npy")
    ids = _tokenizer(target.tokenizer_folder)(text, add_special_tokens=False, verbose=False)["input_ids"]
    return np.asarray(ids, dtype=np.int64)


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer  # noqa: PLC0415 - slow to import, and `tokens:` needs none

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise InputFault(f"{folder} holds no readable tokenizer: {error}") from error


def _text(source: str, role: Role) -> str:
    kind, _, path = source.partition(":")
    if kind == "text" and path:
        return _read(Path(path))
    if source == "bundled":
        return _read(bundled("text") / f"{role}.txt")
    if source in ("wikitext2", "c4"):
        return _from_hub(source, role)
    more = ", or random" if role == "calibration" else "; random tokens are for calibration alone"
    raise UsageError(f"unknown text {source!r}: give bundled, wikitext2, c4, text:FILE or tokens:FILE.npy{more}")


def _read(path: Path) -> str:
    if not is_file(path):
        raise UsageError(f"text:{path}: no such file")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputFault(f"text:{path} cannot be read as UTF-8: {error}") from error


def _from_hub(source: str, role: Role) -> str:
    """The splits that the Wanda and SparseGPT papers use: train to calibrate; test (C4: validation) to evaluate."""
    try:
        from datasets import load_dataset  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise UsageError(f"{source} needs the package datasets: {install('hub')}") from None
    try:
        if source == "wikitext2":
            split = "train" if role == "calibration" else "test"
            rows = load_dataset("Salesforce/wikitext", "wikitext-2-raw-v1", split=split)
            return "\n\n".join(rows["text"])
        name, shards = ("train", "01024") if role == "calibration" else ("validation", "00008")
        files = {name: f"en/c4-{name}.00000-of-{shards}.json.gz"}
        rows = load_dataset("allenai/c4", data_files=files, split=f"{name}[:1100]")
        return " ".join(rows["text"])
    except (OSError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise InputFault(f"{source} did not come from the hub: {first[0]}; use bundled or text:FILE offline") from error
