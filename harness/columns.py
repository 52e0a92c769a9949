"""The columns of the frames that `harness.load` returns: the one list that the code, the docs and the packs use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Column:
    """One column: its pandas dtype and what is in it. A text is one line unless `multiline`."""

    dtype: Literal["string", "int64", "Int64", "float64", "bool", "boolean"]
    what: str
    multiline: bool = False


_CELL = {
    "cell": Column("int64", "place of the cell in the plan, from 0; the key that joins the frames"),
    "target": Column("string", "the model that was pruned"),
    "sparsity": Column("string", "what was asked for: `0.5`, `2:4` (2 weights kept of each 4), `rows:0.5`"),
    "pruner": Column("string", "a reference's name, a path, or an archived candidate's id"),
}
COLUMNS: Mapping[str, Mapping[str, Column]] = {
    "scores": {
        **_CELL,
        "kind": Column("string", "of the sparsity: `unstructured`, `pattern`, `rows`, `columns` or `heads`"),
        "ratio": Column("float64", "fraction of zeros that was asked for; of a pattern 1 - n/m"),
        "author": Column("string", "`human` or `model`"),
        "model": Column("string", "the language model that wrote the pruner; NA of a person's"),
        "idea": Column("string", "the idea that it was asked for; NA of a person's"),
        "template": Column("string", "the prompt template that it was asked with; NA of a person's"),
        "status": Column("string", "`OK`, `NA` or an error, as in docs/records.md"),
        "outcome": Column("string", "the paper's word: `OK`, `Error` or `NA`"),
        "perplexity": Column("float64", "exp of the mean window loss"),
        "perplexity_low": Column("float64", "lower end of its 95% interval over the windows"),
        "perplexity_high": Column("float64", "upper end"),
        "dense_perplexity": Column("float64", "of the unpruned model, under the same protocol"),
        "achieved_sparsity": Column("float64", "exact zeros over all prunable weights"),
        "kl_divergence": Column("float64", "KL(dense, pruned), mean over the predictions, in nats"),
        "quarantined": Column("bool", "implausibly better than dense: not to be believed, never ranked"),
        "uniform": Column("bool", "whether every layer has the same budget"),
        "weights_changed": Column("bool", "whether weights that were kept have other values"),
        "seeds": Column(
            "int64", "how many seeds the perplexity is a mean of: 1 unless the pruner draws random numbers"
        ),
        "seed_low": Column("float64", "lowest perplexity of those seeds; NA with one"),
        "seed_high": Column("float64", "highest"),
        "repeatable": Column("boolean", "whether a second run with the same seed gave the same weights; NA: none made"),
        "sandbox_seconds": Column("float64", "wall time of the sandboxed process"),
        "prune_seconds": Column("float64", "of the call of `prune`, as the worker says"),
        "score_seconds": Column("float64", "of the scorer"),
        "peak_memory_bytes": Column("Int64", "of the container"),
        "isolation": Column("string", "`docker`, `docker:<runtime>` or `bubblewrap`"),
        "protocol": Column("string", "id of the measurement protocol; two are never ranked together"),
        "seed": Column("int64", "of the run"),
        "source_sha256": Column("string", "of the pruner's code; NA where there was none to run"),
        "error_stage": Column("string", "where it failed: completion, source, run, output, score"),
        "error_type": Column("string", "name of the exception, or the status"),
        "error_message": Column("string", multiline=True, what="what it said, cleaned and bounded"),
        "error_line": Column("Int64", "line in the pruner's file"),
        "cause": Column("string", "why it failed: one of the list in docs/reference/causes.md; NA where it is OK"),
        "cause_rule": Column("string", "what of the interface was broken, where the evidence names it"),
        "cause_sentence": Column("string", multiline=True, what="what went wrong, with its numbers and names"),
        "notes": Column("string", multiline=True, what="remarks of the pruner, one a line, cleaned and bounded"),
        "text": Column("string", multiline=True, what="how the pruned model goes on from the study's prompt"),
        "zeros_sha256": Column("string", "of where the zeros are: two runs with the same mask have the same"),
    },
    "layers": {
        **_CELL,
        "layer": Column("string", "name of the prunable layer"),
        "place": Column("int64", "its place in forward order, from 0"),
        "zeros": Column("float64", "fraction of its weights that is exactly zero"),
    },
    "windows": {
        **_CELL,
        "window": Column("int64", "place of the window in the evaluation text, from 0"),
        "loss": Column("float64", "mean next-token cross-entropy of the window, in nats"),
        "dense_loss": Column("float64", "the same of the unpruned model"),
    },
    "protocols": {
        "target": Column("string", "the model that was measured"),
        "protocol": Column("string", "id of all below but `weights_sha256`, `not_pruned` and `dense_text`"),
        "seqlen": Column("int64", "tokens of a window"),
        "windows": Column("int64", "windows of the evaluation"),
        "dtype": Column("string", "what the model computed in"),
        "statistics": Column("string", "`sequential` or `dense`"),
        "rounds": Column("int64", "calls of a pruner, at a sparsity that rises"),
        "device": Column("string", "`cpu` or `cuda`"),
        "evaluation": Column("string", "text that was measured on"),
        "evaluation_sha256": Column("string", "of its tokens"),
        "calibration": Column("string", "text that pruners were shown"),
        "calibration_samples": Column("int64", "windows of it"),
        "calibration_sha256": Column("string", "of its tokens"),
        "tokenizer_sha256": Column("string", "NA where the target has none"),
        "weights_sha256": Column("string", "of the unpruned model"),
        "not_pruned": Column("string", multiline=True, what="what of the target stays dense, in words"),
        "dense_text": Column("string", multiline=True, what="how the dense model goes on from the study's prompt"),
    },
    "faults": {
        **_CELL,
        "status": Column("string", "`INFRA_…`: a fault of the harness, never a pruner's"),
        "message": Column("string", multiline=True, what="the latest"),
        "attempts": Column("int64", "how often it was met"),
    },
    "plan": {
        **_CELL,
        "source_sha256": Column("string", "of the pruner's code; NA where there is none to run"),
        "scored": Column("bool", "whether there is a score"),
    },
}
"""For each frame, its columns: dtype, and what is in it. What was not measured is NA, never 0."""
