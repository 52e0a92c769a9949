"""What goes to an experiment tracker: one run for each pruner and target, one point for each sparsity.

Names are those of the frames: cleaned, one line, bounded. Messages, remarks and text of candidates stay here.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

import pandas as pd

from harness.frames import Frames

METRICS = (
    *("perplexity", "perplexity_low", "perplexity_high", "dense_perplexity", "achieved_sparsity", "kl_divergence"),
    *("sandbox_seconds", "prune_seconds", "score_seconds", "peak_memory_bytes"),
)


@dataclass(frozen=True)
class Run:
    """One pruner on one target."""

    name: str
    params: Mapping[str, str]
    """`pruner`, `target`, `author`, `protocol`, `seed`, `isolation`; `idea`, `model` and `template` where there
    are; `status`, as in `OK 3, TIMEOUT 1`; and `status/LABEL` for each sparsity."""
    points: Mapping[int, Mapping[str, float]]
    """By step, rising: the metrics that were measured and are finite. The step is round(1000 * ratio), or the next
    one that is free where ratios are nearer; the metrics of a pattern have `/2-4` behind their names, those of a
    structure `/rows`, as several may have one step."""

    @property
    def digest(self) -> str:
        """Tells whether two runs are the same."""
        return sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def runs(frames: Frames) -> list[Run]:
    """The runs of a study, in plan order."""
    keys = ["target", "pruner", "author", "protocol"]
    return [_run(part) for _, part in frames.scores.groupby(keys, sort=False)]


def _run(part: pd.DataFrame) -> Run:
    rows: list[dict[str, Any]] = part.to_dict("records")  # type: ignore[assignment]
    first = rows[0]
    names = ("pruner", "target", "author", "idea", "model", "template", "protocol", "seed")
    params = {name: str(first[name]) for name in names if not pd.isna(first[name])}
    params["isolation"] = ", ".join(sorted({row["isolation"] for row in rows}))
    params["status"] = ", ".join(f"{name} {count}" for name, count in Counter(row["status"] for row in rows).items())
    points: dict[int, dict[str, float]] = {}
    for row in sorted(rows, key=lambda row: float(row["ratio"])):
        label = row["sparsity"].replace(":", "-")
        params[f"status/{label}"] = row["status"]
        suffix = {"unstructured": "", "pattern": f"/{label}"}.get(row["kind"], f"/{row['kind']}")
        values = {f"{name}{suffix}": float(row[name]) for name in METRICS if not pd.isna(row[name])}
        step = round(1000 * row["ratio"])
        while values.keys() & points.get(step, {}).keys():
            step += 1
        points[step] = points.get(step, {}) | {name: value for name, value in values.items() if math.isfinite(value)}
    return Run(f"{first['pruner']} on {first['target']}", params, dict(sorted(points.items())))
