"""Archive -> attempts: what was asked and answered for each pruner of a study, and the code that was run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from harness import archive, packed, pruners
from harness.errors import InputFault, UsageError
from harness.pack import Pack
from harness.prices import amount, usage
from harness.records import SOURCE_BYTES
from harness.stages.completion import text_of


@dataclass(frozen=True, slots=True)
class Attempt:
    """One pruner's code and, of a candidate, the exchange that it came from. Every text may be hostile."""

    code: str | None
    prompt: str | None = None
    answer: str | None = None
    facts: Mapping[str, str] | None = None
    """What the archive says of the exchange, in the words of its manifest."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    """Reasoning included, as the endpoint counted them."""
    cost: float | None = None
    """US dollars, where the endpoint says so or the model's prices were known."""


def attempts(digests: Mapping[str, str | None], pack: Pack | None = None) -> dict[str, Attempt]:
    """By a pruner's name, what is found of it; nothing where its file is gone or is not the one that was run.

    Args:
        digests: SHA-256 of the code that was run, by name; None where there was none.
        pack: whose results they are, if they are a pack's: then it is all that is looked into.
    """
    references, folders = pruners.reference_files(), pruners.candidate_folders()
    found = {}
    for name, digest in digests.items():
        attempt = None
        if pack is not None:
            attempt = _of_pack(pack, name, digest)
        elif name in references:
            attempt = _of_file(references[name], digest)
        elif name in folders:
            attempt = _of_folder(folders[name], name, digest)
        elif name.endswith(".py"):
            attempt = _of_file(Path(name), digest)
        if attempt is not None:
            found[name] = attempt
    return found


def _of_pack(pack: Pack, name: str, digest: str | None) -> Attempt | None:
    if files := packed.attempt_files(pack, name):
        return _of_files(files, digest)
    content = packed.content(pack, digest)
    return None if content is None else Attempt(content[:SOURCE_BYTES].decode(errors="replace"))


def _of_file(path: Path, digest: str | None) -> Attempt | None:
    try:
        with path.open("rb") as file:
            content = file.read(SOURCE_BYTES + 1)
    except (OSError, ValueError):  # a results file may come from elsewhere
        return None
    return Attempt(content.decode(errors="replace")) if sha256(content).hexdigest() == digest else None


def _of_folder(folder: Path, name: str, digest: str | None) -> Attempt | None:
    try:
        files = archive.files(folder)
    except (InputFault, UsageError):  # shown without it rather than not at all
        return None
    return _of_files(files, digest, name)


def _of_files(files: Mapping[str, bytes], digest: str | None, name: str | None = None) -> Attempt | None:
    """The attempt of these files if its code, and the id where `name` is given, is that one."""
    try:
        pruner = archive.opened(files, "attempt")
    except InputFault:
        return None
    source = None if pruner.source is None else sha256(pruner.source).hexdigest()
    if source != digest or name not in (None, pruner.name):
        return None
    manifest = archive.manifest_of(files[archive.MANIFEST], "attempt")
    counted, paid = usage(manifest), manifest.get("cost")
    keys = ("resolved_model", "created", "finish_reason", "template", "harness_version", "provenance")
    prompt = files.get("prompt.md")
    return Attempt(
        code=None if pruner.source is None else pruner.source.decode(errors="replace"),
        prompt=None if prompt is None else prompt.decode(errors="replace"),
        answer=_answer(files.get("completion.json", b"")),
        facts={key: value for key in keys if isinstance(value := manifest.get(key), str) and value},
        prompt_tokens=counted.input_tokens,
        completion_tokens=counted.output_tokens,
        cost=amount(paid.get("usd")) if isinstance(paid, dict) else counted.cost,
    )


_EXCHANGE_BYTES = 16 << 20
"""A stranger's JSON takes twenty times its size in memory."""


def _answer(exchange: bytes) -> str | None:
    """The text of a recorded answer; None where it has another form, or is too large to be looked at."""
    if len(exchange) > _EXCHANGE_BYTES:
        return None
    try:
        found = json.loads(exchange)
    except (ValueError, RecursionError):
        return None
    return text_of(found.get("response")) if isinstance(found, dict) else None
