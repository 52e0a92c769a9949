"""A study's results as tidy pandas frames: what `harness.load` returns. Every column is in `harness.columns`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd

from harness.autopsy import autopsy
from harness.columns import COLUMNS, Column
from harness.console import plain
from harness.errors import StorageFault
from harness.recorded import results_file
from harness.records import Measurement, Score, Sparsity, Zeros
from harness.standings import NAME_CHARACTERS
from harness.store import CellFault, Store

Row = dict[str, Any]


@dataclass(frozen=True)
class Frames:
    """The results of one study; `harness.columns.COLUMNS` has the columns of each frame.

    Texts are cleaned by `harness.console.plain` and bounded, not escaped: a name may still look like a formula, a link
    or markup to the program that shows it.
    """

    name: str
    """Of the study."""
    scores: pd.DataFrame
    """One row for each cell that has a score, in plan order."""
    windows: pd.DataFrame
    """One row for each of those cells and each evaluation window, where there is a perplexity."""
    layers: pd.DataFrame
    """One row for each of those cells and each prunable layer, where its zeros were recorded."""
    protocols: pd.DataFrame
    """One row for each target that was opened."""
    faults: pd.DataFrame
    """One row for each cell that met a fault of the harness and has no score."""
    plan: pd.DataFrame
    """One row for each cell, in plan order."""

    def items(self) -> list[tuple[str, pd.DataFrame]]:
        """The frames by name, in the order of `COLUMNS`."""
        return [(name, getattr(self, name)) for name in COLUMNS]


def load(study: str | Path) -> Frames:
    """The results of a study by its name, TOML file, results folder, results file or pack.

    Raises:
        UsageError: there are no results.
        StorageFault: they cannot be read.
    """
    return read(results_file(str(study)))


def read(path: Path) -> Frames:
    """The results in one results file.

    Raises:
        StorageFault: it cannot be read, or holds no study.
    """
    with Store(path, create=False) as store:
        plan, scores, faults = store.plan(), store.scores(), store.faults()
        measurements, zeros = store.measurements(), store.zeros()
        dense = {target: store.dense_losses(target) or () for target in measurements}
    if plan is None:
        raise StorageFault(f"{path}: holds no study; run `harness study run` with it first")
    places = {cell.key: (place, cell.source_sha256) for place, cell in enumerate(plan.cells)}
    scored = {_key(score) for score in scores}
    rows: dict[str, Iterable[Row]] = {
        "scores": (_score(score, *places[_key(score)], zeros.get(_key(score))) for score in scores),
        "windows": (row for score in scores for row in _windows(score, places[_key(score)][0], dense)),
        "layers": (
            row
            for score in scores
            for row in _layers(score, places[_key(score)][0], zeros.get(_key(score)), measurements.get(score.target))
        ),
        "protocols": (asdict(one) | {"protocol": one.id} for one in measurements.values()),
        "faults": (asdict(fault) | {"cell": places[_key(fault)][0]} for fault in faults),
        "plan": (asdict(cell) | {"cell": place, "scored": cell.key in scored} for place, cell in enumerate(plan.cells)),
    }
    try:
        return Frames(one_line(plan.name), **{name: _frame(COLUMNS[name], rows[name]) for name in COLUMNS})
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise StorageFault(f"{path}: a record in it cannot be read ({error}); get the results again") from error


def one_line(text: str) -> str:
    """A name as one bounded line without control characters."""
    return " ".join(plain(text, NAME_CHARACTERS).split())


def _frame(columns: Mapping[str, Column], rows: Iterable[Row]) -> pd.DataFrame:
    frame = pd.DataFrame([[row[name] for name in columns] for row in rows], columns=list(columns), dtype="object")
    for name, column in columns.items():
        values = frame[name]
        if column.dtype == "string":
            clean = plain if column.multiline else one_line
            values = values.map(lambda value, clean=clean: pd.NA if value is None else clean(str(value)))
        frame[name] = values.astype(column.dtype)
    return frame


def _key(result: Score | CellFault) -> tuple[str, str, str]:
    return result.target, result.sparsity, result.pruner


def _score(score: Score, place: int, source_sha256: str | None, zeros: Zeros | None) -> Row:
    sparsity = Sparsity.parse(score.sparsity)
    error, why = score.error, autopsy(score)
    return {
        **asdict(score),
        "cell": place,
        "kind": sparsity.structure or ("unstructured" if sparsity.n is None else "pattern"),
        "ratio": sparsity.ratio,
        "source_sha256": source_sha256,
        "error_stage": error and error.stage,
        "error_type": error and error.type,
        "error_message": error and error.message,
        "error_line": error and error.line,
        "cause": why and why.cause.value,
        "cause_rule": why and why.rule and why.rule.value,
        "cause_sentence": why and why.sentence,
        "notes": "\n".join(score.notes) or None,
        "seeds": len(score.seed_perplexities) or 1,
        "seed_low": min(score.seed_perplexities, default=None),
        "seed_high": max(score.seed_perplexities, default=None),
        "zeros_sha256": zeros and zeros.sha256,
    }


def _layers(score: Score, place: int, zeros: Zeros | None, measurement: Measurement | None) -> Iterator[Row]:
    layers = measurement.layers if measurement else ()
    if zeros is None or len(layers) != len(zeros.fractions):
        return
    names = {"cell": place, "target": score.target, "sparsity": score.sparsity, "pruner": score.pruner}
    for index, (layer, fraction) in enumerate(zip(layers, zeros.fractions, strict=True)):
        yield names | {"layer": layer, "place": index, "zeros": fraction}


def _windows(score: Score, place: int, dense: Mapping[str, Sequence[float]]) -> Iterator[Row]:
    losses = score.window_losses or ()
    against = dense.get(score.target, ())
    if len(against) != len(losses):  # those of an earlier protocol
        against = ()
    names = {"cell": place, "target": score.target, "sparsity": score.sparsity, "pruner": score.pruner}
    for window, (loss, dense_loss) in enumerate(zip_longest(losses, against)):
        yield names | {"window": window, "loss": loss, "dense_loss": dense_loss}
