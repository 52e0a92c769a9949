"""Archive -> attempts: what was asked and answered for each pruner of a study, and the code that was run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness import archive, pruners
from harness.errors import InputFault, UsageError
from harness.prices import amount, usage
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


def attempts(digests: Mapping[str, str | None]) -> dict[str, Attempt]:
    """By a pruner's name, what is found of it; nothing where its file is gone or is not the one that was run.

    `digests` are the SHA-256 of the code that was run, by name; None where there was none.
    """
    references, folders = pruners.reference_files(), pruners.candidate_folders()
    found = {}
    for name, digest in digests.items():
        attempt = None
        if name in references:
            attempt = _of_file(references[name], digest)
        elif name in folders:
            attempt = _of_folder(folders[name], name, digest)
        elif name.endswith(".py"):
            attempt = _of_file(Path(name), digest)
        if attempt is not None:
            found[name] = attempt
    return found


def _of_file(path: Path, digest: str | None) -> Attempt | None:
    try:
        content = path.read_bytes()
    except (OSError, ValueError):  # a results file may come from elsewhere
        return None
    return Attempt(content.decode(errors="replace")) if sha256(content).hexdigest() == digest else None


def _of_folder(folder: Path, name: str, digest: str | None) -> Attempt | None:
    try:
        pruner, manifest = archive.load(name, [folder.parents[2]]), archive.read_manifest(folder)
        prompt = (folder / "prompt.md").read_text(encoding="utf-8", errors="replace")
        exchange = json.loads((folder / "completion.json").read_bytes())
    except (InputFault, UsageError, OSError, ValueError, RecursionError):  # shown without it rather than not at all
        return None
    if digest != (None if pruner.source is None else sha256(pruner.source).hexdigest()):
        return None
    counted, paid = usage(manifest), manifest.get("cost")
    keys = ("resolved_model", "created", "finish_reason", "template", "harness_version", "provenance")
    return Attempt(
        code=None if pruner.source is None else pruner.source.decode(errors="replace"),
        prompt=prompt,
        answer=_answer(exchange),
        facts={key: str(manifest[key]) for key in keys if manifest.get(key)},
        prompt_tokens=counted.input_tokens,
        completion_tokens=counted.output_tokens,
        cost=amount(paid.get("usd")) if isinstance(paid, dict) else counted.cost,
    )


def _answer(exchange: Any) -> str | None:
    """The text of a recorded answer; None where it has another form."""
    return text_of(exchange.get("response")) if isinstance(exchange, dict) else None
