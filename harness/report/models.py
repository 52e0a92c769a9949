"""Results -> how well each model writes pruners: pass@k, and what one that works costs."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from statistics import fmean, median

import pandas as pd

from harness.console import plain
from harness.metrics import pass_at_k, wilson
from harness.records import Score
from harness.report.results import Results
from harness.standings import NAME_CHARACTERS
from harness.status import Status

COLUMNS = (
    *("model", "target", "ideas", "samples", "passed", "pass_at_1", "pass_at_1_low", "pass_at_1_high"),
    *("k", "pass_at_k", "median_sandbox_seconds", "median_peak_memory_bytes"),
    *("completion_tokens", "tokens_per_valid", "cost_per_valid"),
)
_HEADINGS = (
    *("model", "target", "ideas", "samples", "passed", "pass@1 (95% interval)", "pass@k"),
    *("median sandbox seconds", "tokens per valid pruner", "US dollars per valid pruner"),
)


def by_model(results: Results) -> pd.DataFrame:
    """A row for each model and target. A sample passes that is OK at every sparsity the study asks for.

    One that is OK so far, but not finished, is left out until it is. Where models were asked with several templates,
    there is a row for each of them, with its name in the column `template`.

    pass@k is unbiased (Chen et al. 2021, equation 1) and the mean over the ideas; k is the least number of samples of
    any idea, and the column is empty where that is 1. The interval of pass@1 is Wilson's over all samples. Tokens and
    cost are empty unless the endpoint told them of every sample; of a model without a valid pruner they are infinite.
    """
    rows = []
    waiting = results.unfinished()
    groups: dict[tuple[str, str, str], dict[str, dict[str, list[Score]]]] = {}
    for score in results.scores:
        if score.author == "model":
            ideas = groups.setdefault((score.model or "", score.template or "", score.target), {})
            ideas.setdefault(score.idea or "", {}).setdefault(score.pruner, []).append(score)
    several = len({template for _, template, _ in groups}) > 1
    for (model, template, target), started in groups.items():
        ideas = {idea: _finished(samples, target, waiting) for idea, samples in started.items()}
        ideas = {idea: samples for idea, samples in ideas.items() if samples}
        if not ideas:
            continue
        names = {name: plain(text, NAME_CHARACTERS) for name, text in (("model", model), ("template", template))}
        rows.append({**names, "target": target, **_row(ideas, results)})
    return pd.DataFrame(rows, columns=[COLUMNS[0], *["template"] * several, *COLUMNS[1:]])


def headings(frame: pd.DataFrame) -> list[str]:
    """What stands over the `texts` of a frame."""
    return [_HEADINGS[0], *["template"] * ("template" in frame.columns), *_HEADINGS[1:]]


def texts(frame: pd.DataFrame) -> Iterator[list[str]]:
    """The rows as they read."""
    names = ["model", *["template"] * ("template" in frame.columns), "target", "ideas", "samples", "passed"]
    for row in frame.to_dict("records"):
        rate = f"{row['pass_at_1']:.0%} ({row['pass_at_1_low']:.0%} to {row['pass_at_1_high']:.0%})"
        yield [
            *(str(row[name]) for name in names),
            rate,
            "" if pd.isna(row["pass_at_k"]) else f"{row['pass_at_k']:.0%} (k = {row['k']})",
            "" if pd.isna(row["median_sandbox_seconds"]) else f"{row['median_sandbox_seconds']:.1f}",
            _each(row["tokens_per_valid"], ",.0f"),
            _each(row["cost_per_valid"], ".3f"),
        ]


def _each(value: float, form: str) -> str:
    """What one valid pruner took; empty where it is not known."""
    return "" if pd.isna(value) else "none valid" if math.isinf(value) else format(value, form)


def _row(ideas: Mapping[str, Mapping[str, Sequence[Score]]], results: Results) -> dict[str, object]:
    counts = [(len(samples), sum(_passed(scores) for scores in samples.values())) for samples in ideas.values()]
    total, passed = sum(n for n, _ in counts), sum(c for _, c in counts)
    bounds = wilson(passed, total) or (None, None)
    k = min(n for n, _ in counts)
    scores = [score for samples in ideas.values() for cells in samples.values() for score in cells]
    seconds = [score.sandbox_seconds for score in scores if score.sandbox_seconds is not None]
    memory = [score.peak_memory_bytes for score in scores if score.peak_memory_bytes is not None]
    attempts = [results.attempts.get(name) for samples in ideas.values() for name in samples]
    tokens = _sum([attempt.completion_tokens if attempt else None for attempt in attempts])
    cost = _sum([attempt.cost if attempt else None for attempt in attempts])
    return {
        "ideas": len(ideas),
        "samples": total,
        "passed": passed,
        "pass_at_1": fmean(pass_at_k(n, c, 1) for n, c in counts),
        "pass_at_1_low": bounds[0],
        "pass_at_1_high": bounds[1],
        "k": k,
        "pass_at_k": fmean(pass_at_k(n, c, k) for n, c in counts) if k > 1 else None,
        "median_sandbox_seconds": median(seconds) if seconds else None,
        "median_peak_memory_bytes": median(memory) if memory else None,
        "completion_tokens": tokens,
        "tokens_per_valid": _share(tokens, passed),
        "cost_per_valid": _share(cost, passed),
    }


def _finished(
    samples: Mapping[str, list[Score]], target: str, waiting: Collection[tuple[str, str]]
) -> dict[str, list[Score]]:
    """The samples whose fate is known: one that has failed stays so."""
    return {name: scores for name, scores in samples.items() if (target, name) not in waiting or not _passed(scores)}


def _passed(scores: Sequence[Score]) -> bool:
    return all(score.status == Status.OK and not score.quarantined for score in scores)


def _sum(values: Sequence[float | None]) -> float | None:
    """None where one is unknown: a sum of what happens to be known would be too low."""
    return None if None in values else sum(value for value in values if value is not None)


def _share(total: float | None, parts: int) -> float | None:
    return None if total is None else total / parts if parts else float("inf")
