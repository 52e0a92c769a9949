"""The model card of an exported model. Names of pruners and targets are hostile: every text in it is escaped."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness import __version__
from harness.console import plain
from harness.records import Measurement, Score
from harness.targets import SMOLLM2, TESTBEDS

_BASES = {SMOLLM2: "HuggingFaceTB/SmolLM2-135M-Instruct"}
_LICENCES = {SMOLLM2: "apache-2.0", **dict.fromkeys(TESTBEDS, "cc-by-sa-3.0")}
_LICENCE_NAMES = {"apache-2.0": "Apache 2.0", "cc-by-sa-3.0": "CC BY-SA 3.0"}


@dataclass(frozen=True)
class Export:
    """What was exported, and what was measured on it."""

    score: Score
    measurement: Measurement
    dtype: str


def model_card(export: Export) -> str:
    """README.md: YAML front matter, then what the model is, what was measured, and how to load it."""
    score, measurement = export.score, export.measurement
    base = _BASES.get(score.target, score.target)
    licence = _LICENCES.get(score.target)
    front = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "license": licence,
        "base_model": base if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", base, re.ASCII) else None,
    }
    matter = [f"{key}: {yaml_text(value)}" for key, value in front.items() if value is not None]
    rows = {
        "base model": base,
        "pruner": score.pruner,
        "pruner's author": "a language model" if score.author == "model" else "a person",
        "sparsity asked for": f"{score.sparsity} of the weights of the linear layers in the decoder blocks",
        "sparsity achieved": _number(score.achieved_sparsity, 6),
        "perplexity": _number(score.perplexity, 4),
        "perplexity of the base model": _number(score.dense_perplexity, 4),
        "KL divergence to the base model, nats": _number(score.kl_divergence, 6),
        "protocol": score.protocol,
        "evaluation": f"{measurement.windows} windows of {measurement.seqlen} tokens of {measurement.evaluation}",
        "calibration": f"{measurement.calibration_samples} windows of {measurement.calibration}, seed {score.seed}",
        "isolation of the run": score.isolation,
        "stored": f"loads in {export.dtype}; every tensor in the base model's dtype where that is exact",
        "harness": __version__,
    }
    table = "".join(f"| {name} | {markdown_text(value)} |\n" for name, value in rows.items() if value is not None)
    notes = [
        note
        for note, holds in {
            "The pruner spreads its budget unevenly over the layers.": not score.uniform,
            "The pruner changed weights that it kept.": score.weights_changed,
            "The perplexity is implausibly below the base model's: look at the pruner before you believe it.": (
                score.quarantined
            ),
        }.items()
        if holds
    ]
    terms = f"that of the base model, {_LICENCE_NAMES[licence]}" if licence else "that of the base model: see its card"
    return (
        "---\n" + "\n".join(matter) + "\ntags:\n- pruned\n- sparse\n---\n\n"
        f"# {markdown_text(base)}, pruned to {markdown_text(score.sparsity)}\n\n"
        "Pruned and measured by `harness`. The zeros are stored as zeros: the folder is as large as the base model.\n\n"
        f"| | |\n| --- | --- |\n{table}\n"
        + "".join(f"{note}\n\n" for note in notes)
        + f"The licence is {terms}.\n\n## Load it\n\n"
        "    from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        '    model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")\n'
        '    tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")\n'
    )


def yaml_text(text: str) -> str:
    """A double-quoted YAML scalar; everything but plain ASCII letters, digits and a few signs is escaped."""
    return '"' + re.sub(r"[^A-Za-z0-9 ./_:-]", lambda found: f"\\U{ord(found[0]):08x}", _line(text)) + '"'


def markdown_text(text: str) -> str:
    """Text that Markdown and HTML show as it is: ASCII punctuation is escaped but in numbers and plain names."""
    return re.sub(r"[^\w\s.,:;+/-]|_|(?<!\d)\.(?!\d)|(?<=:)/", _entity, _line(text))


def _entity(found: re.Match[str]) -> str:
    return f"&#{ord(found[0])};"


def _line(text: str) -> str:
    return re.sub(r"\s+", " ", plain(text, 300)).strip()


def _number(value: float | None, digits: int) -> str | None:
    return None if value is None else f"{value:.{digits}f}"
