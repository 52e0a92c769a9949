"""Scores -> Leaderboard: one ranking per target, protocol and sparsity, as a table and as Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import pandas as pd

from harness.console import plain
from harness.metrics import wilson
from harness.overlap import Cell, Nearest
from harness.records import Failure, Score
from harness.standings import GROUP, NAME_CHARACTERS, has_number, is_allowed, standings
from harness.status import Outcome, Status

_TYPES = {
    "target": "object",
    "protocol": "object",
    "sparsity": "object",
    "rank": "Int64",
    "pruner": "object",
    "author": "object",
    "model": "object",
    "idea": "object",
    "template": "object",
    "status": "object",
    "outcome": "object",
    "perplexity": "float64",
    "perplexity_low": "float64",
    "perplexity_high": "float64",
    "dense_perplexity": "float64",
    "ratio_to_dense": "float64",
    "achieved_sparsity": "float64",
    "kl_divergence": "float64",
    "sandbox_seconds": "float64",
    "peak_memory_bytes": "Int64",
    "isolation": "object",
    "uniform": "boolean",
    "weights_changed": "boolean",
    "nearest_reference": "object",
    "mask_overlap": "float64",
    "mask_agreement": "float64",
    "notes": "object",
    "error": "object",
}
_SUMMARY = ["author", "pruners", "pruners_ok", "cells", "ok", "error", "na", "ok_rate", "ok_rate_low", "ok_rate_high"]
_SUMMARY_HEADINGS = ["author", "pruners", "OK in a cell", "cells", "OK", "Error", "NA", "OK rate (95% interval)"]
ALIKE = 0.5
"""The agreement from which a candidate's nearest reference is worth a note."""
SAME_MASK = 0.99
"""The agreement from which a candidate's mask is called that of a reference."""
TIE = "tie"
"""The note of a row that shares its rank; it stands before any other."""
_ERROR_CHARACTERS = 200
_ORDER = {Outcome.OK.value: 0, Outcome.NA.value: 2}


class Ranking(NamedTuple):
    """The rows of a leaderboard that are ranked together."""

    target: str
    protocol: str
    sparsity: str
    dense: str
    """The perplexity of the unpruned model as it reads; empty where it is not known."""
    rows: list[Any]
    """As `itertuples` gives them."""


def leaderboard(
    scores: Sequence[Score], *, rank_isolation: str = "docker", nearest: Mapping[Cell, Nearest] | None = None
) -> pd.DataFrame:
    """All scores as rows, the groups in the order in which they come, each from its best pruner to its errors.

    A rank is one more than the number of pruners of the group that are significantly better (`harness.comparison`);
    those who share one are marked as a tie. Without a rank: what has no perplexity, what is quarantined, and, unless
    `rank_isolation` is `any`, what ran outside a container. `nearest` is what `harness.overlap` found of the masks:
    `mask_overlap` is the fraction of shared zeros among those of either, `mask_agreement` is 1 for the same mask and 0
    for chance. Text is cleaned and bounded, but not yet escaped.
    """
    alike = nearest or {}
    varying = {(score.target, score.protocol, score.pruner) for score in scores if score.repeatable is False}
    rows = [
        _row(
            score,
            rank_isolation,
            alike.get((score.target, score.sparsity, score.pruner)),
            (score.target, score.protocol, score.pruner) in varying,
        )
        for score in scores
    ]
    frame = pd.DataFrame(rows, columns=list(_TYPES))
    frame = frame.astype({name: kind for name, kind in _TYPES.items() if name != "rank"})
    frame["rank"] = pd.Series(standings(scores, rank_isolation), dtype="Int64").reindex(frame.index)
    frame["_group"] = frame.groupby(GROUP, sort=False, dropna=False).ngroup()
    shared = frame.duplicated(["_group", "rank"], keep=False) & frame["rank"].notna()
    ties = frame["notes"].map(lambda notes: "; ".join(filter(None, (TIE, notes))))
    frame["notes"] = frame["notes"].where(~shared, ties)
    frame["_class"] = frame["outcome"].map(_ORDER).fillna(3).where(frame["rank"].isna(), -1)
    frame = frame.sort_values(["_group", "_class", "perplexity", "pruner"], kind="stable", ignore_index=True)
    return frame[list(_TYPES)]


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """By author: pruners, those OK in at least one cell, cells by outcome, and the fraction of cells that is OK.

    The rate stands with its 95% Wilson interval. Where models were asked with several templates, there is a row for
    each of them, with its name in the column `template`.
    """
    several = frame.loc[frame["author"] == "model", "template"].nunique() > 1
    keys = ["author", "template"] if several else ["author"]
    rows = []
    for names, part in frame.groupby(keys, sort=True):
        is_ok = part["outcome"] == Outcome.OK.value
        bounds = wilson(int(is_ok.sum()), len(part)) or (math.nan, math.nan)
        rows.append(
            {
                **dict(zip(keys, names, strict=True)),
                "pruners": part["pruner"].nunique(),
                "pruners_ok": part.loc[is_ok, "pruner"].nunique(),
                "cells": len(part),
                "ok": int(is_ok.sum()),
                "error": int((part["outcome"] == Outcome.ERROR.value).sum()),
                "na": int((part["outcome"] == Outcome.NA.value).sum()),
                "ok_rate": float(is_ok.mean()),
                "ok_rate_low": bounds[0],
                "ok_rate_high": bounds[1],
            }
        )
    return pd.DataFrame(rows, columns=[*keys, *_SUMMARY[1:]])


def summary_headings(frame: pd.DataFrame) -> list[str]:
    """What stands over the `summary_texts` of a `summary`."""
    template = ["template"] * ("template" in frame.columns)
    return [_SUMMARY_HEADINGS[0], *template, *_SUMMARY_HEADINGS[1:]]


def summary_texts(frame: pd.DataFrame) -> list[list[str]]:
    """The rows of a `summary` as they read."""
    return [
        [*(str(cell) for cell in row[:-3]), f"{row[-3]:.0%} ({row[-2]:.0%} to {row[-1]:.0%})"]
        for row in frame.itertuples(index=False, name=None)
    ]


def by_sparsity(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per target and pruner, one column per sparsity: the perplexity, or the status that stands for it."""
    cells = [
        str(status) if pd.isna(value) else perplexity_text(float(value))
        for status, value in zip(frame["status"], frame["perplexity"], strict=True)
    ]
    shown = frame.assign(cell=pd.Series(cells, index=frame.index, dtype="object"))
    table = shown.pivot_table(
        index=["target", "author", "pruner"], columns="sparsity", values="cell", aggfunc="last", sort=False
    )
    order = list(dict.fromkeys(frame["sparsity"]))
    return table.reindex(columns=order).fillna("").reset_index()


def rankings(frame: pd.DataFrame) -> list[Ranking]:
    """The groups of the leaderboard, in its order."""
    groups: dict[tuple[str, str, str], list[Any]] = {}
    for row in frame.itertuples(index=False):
        groups.setdefault((row.target, row.protocol, row.sparsity), []).append(row)  # type: ignore[arg-type]
    found = []
    for names, rows in groups.items():
        dense = [row.dense_perplexity for row in rows if not math.isnan(row.dense_perplexity)]
        found.append(Ranking(*names, perplexity_text(dense[0]) if dense else "", rows))
    return found


def to_markdown(groups: Iterable[Ranking]) -> str:
    """One table per ranking, under a heading each."""
    parts = []
    for target, protocol, sparsity, dense, rows in groups:
        against = f", dense perplexity {dense}" if dense else ""
        heading = f"## {markdown(target)}, sparsity {markdown(sparsity)}\n\nProtocol {markdown(protocol)}{against}.\n"
        parts.append(f"{heading}\n{markdown_table(_HEADINGS, (list(row_texts(row).values()) for row in rows))}")
    return "\n".join(parts)


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table with every cell escaped."""
    lines = [[markdown(cell) for cell in cells] for cells in (headings, *rows)]
    lines.insert(1, ["---"] * len(headings))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def markdown(value: object) -> str:
    """`value` as text that Markdown and HTML show as it is: no markup, no link, no cell border, one line."""
    return _escaped(str(value))


@lru_cache(maxsize=1 << 14)
def _escaped(text: str) -> str:
    """A table of thousands of rows has few texts."""
    text = _clean(text, 2 * _ERROR_CHARACTERS)
    text = re.sub(r"[&<>|`*\[\]\\~$]", lambda match: f"&#{ord(match[0])};", text)
    text = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", "&#95;", text)
    return re.sub(r"(?i):(?=//)|@|(?<=www)\.|(?<=xmpp):|(?<=mailto):", lambda match: f"&#{ord(match[0])};", text)


def perplexity_text(value: float) -> str:
    """`17.29`, `48,415`, `3.2e+09`."""
    if not value < 1e7:
        return f"{value:.1e}"
    return f"{value:.2f}" if value < 1000 else f"{value:,.0f}"


def interval_text(low: float, high: float) -> str:
    """`16.90 to 17.70`; empty when there is no interval."""
    return "" if pd.isna(low) or pd.isna(high) else f"{perplexity_text(low)} to {perplexity_text(high)}"


_HEADINGS = [
    "rank",
    "pruner",
    "author",
    "status",
    "perplexity",
    "95% interval",
    "ratio to dense",
    "achieved sparsity",
    "sandbox seconds",
    "peak MiB",
    "isolation",
    "notes",
]


def _row(score: Score, rank_isolation: str, nearest: Nearest | None, varies: bool) -> dict[str, Any]:
    notes = []
    if not score.uniform and score.status == Status.OK:
        notes.append("uneven budget")
    if score.weights_changed and score.status == Status.OK:
        notes.append("weights changed")
    if score.seed_perplexities:
        low, high = (perplexity_text(end(score.seed_perplexities)) for end in (min, max))
        notes.append(f"mean of {len(score.seed_perplexities)} seeds, {low} to {high}")
    if varies and score.status == Status.OK:
        notes.append("nondeterministic: a second run with the same seed gave other weights")
    if score.kl_divergence is not None:
        notes.append(f"KL from dense {score.kl_divergence:.4f}")
    if nearest is not None and nearest.likeness.agreement >= ALIKE:
        same = "the mask of" if nearest.likeness.agreement >= SAME_MASK else "mask nearest to"
        notes.append(f"{same} {_clean(nearest.reference, 40)} (agreement {nearest.likeness.agreement:.3f})")
    if score.quarantined:
        notes.append("quarantined: implausibly better than dense")
    if has_number(score) and not is_allowed(score, rank_isolation):
        notes.append(f"not ranked: isolation {score.isolation}")
    ratio = score.perplexity / score.dense_perplexity if score.perplexity and score.dense_perplexity else None
    record = score.to_json()
    return {
        **{name: record[name] for name in _TYPES if name in record and name != "error"},
        "pruner": _clean(score.pruner, NAME_CHARACTERS),
        "model": _clean(score.model or "", NAME_CHARACTERS),
        "idea": _clean(score.idea or "", NAME_CHARACTERS),
        "template": _clean(score.template or "", NAME_CHARACTERS),
        "outcome": score.outcome or "",
        "ratio_to_dense": ratio,
        "uniform": score.uniform if score.status == Status.OK else None,
        "weights_changed": score.weights_changed if score.status == Status.OK else None,
        "nearest_reference": "" if nearest is None else _clean(nearest.reference, NAME_CHARACTERS),
        "mask_overlap": None if nearest is None else nearest.likeness.overlap,
        "mask_agreement": None if nearest is None else nearest.likeness.agreement,
        "sandbox_seconds": score.sandbox_seconds,
        "kl_divergence": score.kl_divergence,
        "notes": "; ".join(notes),
        "error": _error(score.error),
    }


def row_texts(row: Any) -> dict[str, str]:
    """What a row of the frame, as `itertuples` gives it, reads like; in the order of the columns, not yet escaped."""
    return {
        "rank": _text(row.rank, "{}"),
        "pruner": row.pruner,
        "author": row.author,
        "status": row.status,
        "perplexity": "" if pd.isna(row.perplexity) else perplexity_text(row.perplexity),
        "interval": interval_text(row.perplexity_low, row.perplexity_high),
        "ratio": "" if pd.isna(row.ratio_to_dense) else perplexity_text(row.ratio_to_dense),
        "achieved": _text(row.achieved_sparsity, "{:.4f}"),
        "seconds": _text(row.sandbox_seconds, "{:.1f}"),
        "memory": "" if pd.isna(row.peak_memory_bytes) else f"{row.peak_memory_bytes / (1 << 20):.0f}",
        "isolation": row.isolation,
        "notes": "; ".join(part for part in (row.notes, row.error) if part),
    }


def _text(value: Any, form: str) -> str:
    return "" if pd.isna(value) else form.format(value)


def _error(error: Failure | None) -> str:
    if error is None:
        return ""
    where = "" if error.line is None else f" (line {error.line})"
    return _clean(f"{error.type}: {error.message}", _ERROR_CHARACTERS) + where


def _clean(text: str, limit: int) -> str:
    return plain(" ".join(text[: 4 * limit].split()), limit)
