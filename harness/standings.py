"""Who stands where: the scores that are ranked together, their ranks, and who is better than whom."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.comparison import pairs, ranks
from harness.console import plain
from harness.metrics import seed_error
from harness.records import Score
from harness.status import Status

GROUP = ["target", "protocol", "sparsity"]
"""What one ranking is about."""
NAME_CHARACTERS = 120
_COMPARISON = [
    *GROUP,
    *("first", "second", "first_author", "second_author"),
    *("ratio", "low", "high", "p", "p_holm", "better"),
]


def standings(scores: Sequence[Score], rank_isolation: str) -> dict[int, int]:
    """Ranks by place in `scores`; whoever has no rank is left out."""
    found: dict[int, int] = {}
    for losses in _ranked_losses(scores, rank_isolation):
        if _can_be_compared(losses):
            found |= ranks(losses, seed_errors(scores, losses))
        else:
            found |= _by_mean(losses)
    return found


def comparisons(scores: Sequence[Score], *, rank_isolation: str = "docker") -> pd.DataFrame:
    """Every pair of pruners that `leaderboard` ranks together: who is better, by how much, and whether it shows.

    `ratio` is the perplexity of `first` over that of `second`, with its paired 95% interval; `p_holm` is corrected for
    all pairs of the ranking; `better` is `first`, `second` or `tie`.
    """
    rankings = list(filter(_can_be_compared, _ranked_losses(scores, rank_isolation)))
    found = [pairs(losses, seed_errors(scores, losses)) for losses in rankings]
    ranked = [[scores[place] for place in losses] for losses in rankings]
    names = [[plain(score.pruner, NAME_CHARACTERS) for score in group] for group in ranked]
    authors = [[score.author for score in group] for group in ranked]
    columns: dict[str, Any] = {}
    for name in GROUP:
        columns[name] = _texts([[getattr(group[0], name)] for group in ranked], [0 * one.first for one in found])
    for which in ("first", "second"):
        places = [getattr(one, which) for one in found]
        columns |= {which: _texts(names, places), f"{which}_author": _texts(authors, places)}
    for name in ("ratio", "low", "high", "p", "p_holm"):
        columns[name] = np.concatenate([np.zeros(0), *(getattr(one, name) for one in found)])
    results = [np.where(one.is_significant, np.where(one.ratio < 1, 0, 1), 2) for one in found]
    columns["better"] = _texts([["first", "second", "tie"]] * len(found), results)
    return pd.DataFrame(columns, columns=_COMPARISON)


def _texts(texts: Sequence[Sequence[str]], places: Sequence[npt.NDArray[np.intp]]) -> pd.Categorical:
    """What stands at places among the texts of each ranking, one ranking after the other; few texts, many places."""
    kinds = list(dict.fromkeys(text for group in texts for text in group))
    codes = {kind: code for code, kind in enumerate(kinds)}
    own = [np.array([codes[text] for text in group]) for group in texts]
    parts = [group[where] for group, where in zip(own, places, strict=True)]
    return pd.Categorical.from_codes(np.concatenate([np.zeros(0, np.intp), *parts]), pd.Index(kinds, dtype="object"))


def wins(frame: pd.DataFrame) -> pd.DataFrame:
    """Of `comparisons`: human pruners against those of models, one cell a pair: won, tied and lost by the human one."""
    mixed = frame[frame["first_author"] != frame["second_author"]].astype({"first": "object", "second": "object"})
    if mixed.empty:
        return pd.DataFrame()
    is_human = mixed["first_author"] == "human"
    human, model = mixed["first"].where(is_human, mixed["second"]), mixed["second"].where(is_human, mixed["first"])
    won = (mixed["better"] == "first") == is_human
    results = pd.Series("lost", index=mixed.index).mask(won, "won").mask(mixed["better"] == "tie", "tied")
    counts = pd.crosstab([human, model], results).reindex(columns=["won", "tied", "lost"], fill_value=0)
    cells = counts.astype(str).agg(" / ".join, axis=1)
    table = cells.unstack(fill_value="")
    columns = [table.index.to_series(), *(table[name] for name in table.columns)]
    return pd.concat(columns, axis=1, keys=["human", *table.columns]).reset_index(drop=True)


def _ranked_losses(scores: Sequence[Score], rank_isolation: str) -> list[dict[int, Sequence[float]]]:
    """Window losses of what is ranked, by place in `scores`, for each ranking."""
    groups: dict[tuple[str, str, str], dict[int, Sequence[float]]] = {}
    for index, score in enumerate(scores):
        if is_ranked(score, rank_isolation):
            group = groups.setdefault((score.target, score.protocol, score.sparsity), {})
            group[index] = score.window_losses or ()
    return list(groups.values())


def seed_errors(scores: Sequence[Score], losses: Mapping[int, Sequence[float]]) -> dict[int, float]:
    """What seeds add to the error of each mean loss, in nats, by place in `scores`."""
    return {place: seed_error(scores[place].seed_perplexities, len(values)) for place, values in losses.items()}


def _can_be_compared(losses: Mapping[int, Sequence[float]]) -> bool:
    return len({len(values) for values in losses.values()}) == 1 and min(map(len, losses.values())) > 1


def _by_mean(losses: Mapping[int, Sequence[float]]) -> dict[int, int]:
    """Where nothing can be told apart, since windows are missing or there is just one."""
    means = pd.Series({index: sum(values) / len(values) for index, values in losses.items() if values}, dtype="float64")
    return {int(index): int(rank) for index, rank in means.rank(method="min").items()}  # type: ignore[call-overload]


def is_ranked(score: Score, rank_isolation: str) -> bool:
    """Whether a score takes part: it has a perplexity that is believed, and its isolation is good enough."""
    return has_number(score) and is_allowed(score, rank_isolation) and not score.quarantined


def has_number(score: Score) -> bool:
    """Whether there is a perplexity at all."""
    return score.status == Status.OK and score.perplexity is not None and not math.isnan(score.perplexity)


def is_allowed(score: Score, rank_isolation: str) -> bool:
    """Whether the isolation is a container's, or any is wanted."""
    return rank_isolation == "any" or score.isolation.split(":")[0] == "docker"
