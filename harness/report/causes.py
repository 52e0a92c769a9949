"""Results -> why pruners failed: an autopsy for each failed cell, and causes by model and idea."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from harness.autopsy import Autopsy, autopsy
from harness.causes import Cause
from harness.console import plain
from harness.records import Score
from harness.report.paper.table import Column, Table
from harness.report.results import Results
from harness.standings import NAME_CHARACTERS
from harness.status import Outcome

CAPTION = "Why candidates failed"
COLUMNS = ("model", "idea", "cause", "samples", "of_samples", "cells")
HEADINGS = ("model", "idea", "samples", "causes")
NOTE = (
    "Behind each cause the samples that failed by it at one cell or more; a sample may have several causes. Ideas of"
    " which no sample failed are left out."
)


def autopsy_of(score: Score, results: Results) -> Autopsy | None:
    """Why one cell has no perplexity, with what is known of its code; None where it has one."""
    attempt = results.attempts.get(score.pruner)
    if attempt is None:
        return autopsy(score)
    code = None if attempt.code is None else attempt.code.encode()
    return autopsy(score, code, (attempt.facts or {}).get("finish_reason"))


def by_cause(results: Results) -> pd.DataFrame:
    """Of each model and idea, how many samples and cells failed by which cause; the commonest first.

    `samples` are those that failed so at one cell or more, `of_samples` all that have a result. NA is no failure.
    """
    found: dict[tuple[str, str], dict[Cause, list[str]]] = {}
    samples: dict[tuple[str, str], set[str]] = {}
    for score in results.scores:
        if score.author == "model":
            key = (plain(score.model or "", NAME_CHARACTERS), plain(score.idea or "", NAME_CHARACTERS))
            samples.setdefault(key, set()).add(score.pruner)
            why = autopsy(score) if score.outcome == Outcome.ERROR else None
            if why is not None:
                found.setdefault(key, {}).setdefault(why.cause, []).append(score.pruner)
    rows = [
        (*key, cause.value, len(set(names)), len(samples[key]), len(names))
        for key, causes in found.items()
        for cause, names in sorted(causes.items(), key=lambda item: (-len(set(item[1])), item[0]))
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def texts(frame: pd.DataFrame) -> Iterator[tuple[str, str, str, str]]:
    """Of `by_cause`, a row for each model and idea, as it reads."""
    for (model, idea), part in frame.groupby(["model", "idea"], sort=False):
        causes = ", ".join(f"{cause} {samples}" for cause, samples in zip(part["cause"], part["samples"], strict=True))
        yield str(model), str(idea), str(part["of_samples"].iloc[0]), causes


def table(results: Results, frame: pd.DataFrame) -> Table:
    """The same for print."""
    columns = tuple(Column(name, is_text=name != "samples", wide=0.3 * (name == "causes")) for name in HEADINGS)
    return Table(0, CAPTION, results.name, columns, tuple(texts(frame)), (NOTE,))
