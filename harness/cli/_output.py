"""What several commands print and write."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness import console
from harness.errors import StorageFault, UsageError
from harness.records import Measurement, Score

if TYPE_CHECKING:
    from harness.recorded import Recorded

_NAME_CHARACTERS = 31
_NOTE_CHARACTERS = 200
_WIDE_COLUMNS = 100


def check_writable(json_file: str | None) -> None:
    """Fail before the work, not after it, when its result could not be written.

    Raises:
        UsageError: the folder of `json_file` is missing or not writable.
    """
    if json_file in (None, "-"):
        return
    folder = Path(str(json_file)).resolve().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK) or Path(str(json_file)).is_dir():
        raise UsageError(f"--json {json_file}: cannot be written; give a file in a folder that exists")


def write_json(json_file: str | None, value: Any) -> None:
    """Write `value` to a file, whole or not at all, or to stdout for `-`.

    Raises:
        StorageFault: the file cannot be written.
    """
    if json_file is None:
        return
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    if json_file == "-":
        click.echo(text, nl=False)
        return
    path = Path(json_file).resolve()
    try:
        if path.exists() and not path.is_file():  # a device or a pipe is written, not replaced
            path.write_text(text)
            return
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            part = Path(folder, "part")
            part.write_text(text)
            part.replace(path)
    except OSError as error:
        raise StorageFault(f"--json {json_file}: {error.strerror}; make room or give another file") from error


def finite(value: Any) -> Any:
    """JSON has no infinity and no NaN: null in their place."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def tell_of_others(source: Recorded) -> None:
    """Say on stderr which pruners of a pack have other code in this folder or this harness: it is not what is shown."""
    from harness.packed import others_here
    from harness.store import Store

    if source.pack is None:
        return
    with Store(source.path, create=False) as store:
        plan = store.plan()
    for name in others_here(plan.cells if plan else ()):
        console.notice(f"{short(name)}: the code of that name here is another; what is shown is the pack's")


def print_scores(scores: Sequence[Score], measurement: Measurement, extras: Sequence[str] = ()) -> None:
    """A table of scores on stdout, every text of a candidate made harmless; `extras` are those of the bench."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("pruner", overflow="ellipsis")
    table.add_column("sparsity", justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("perplexity", justify="right", no_wrap=True)
    if wide := out.width >= _WIDE_COLUMNS:
        table.add_column("95% interval", justify="right", no_wrap=True)
    if divergence := "kl_divergence" in extras:
        table.add_column("KL", justify="right", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    for score in scores:
        low, high = _number(score.perplexity_low, 2), _number(score.perplexity_high, 2)
        interval = [f"{low} to {high}" if low else ""] if wide else []
        kl = [_number(score.kl_divergence, 4)] * divergence
        numbers = [_number(score.perplexity, 3), *interval, *kl, _number(score.sandbox_seconds, 1)]
        style = {"OK": "green", "NA": "dim"}.get(score.status, "red")
        table.add_row(Text(short(score.pruner)), score.sparsity, Text(score.status, style), *numbers)
    out.print(table)
    for score in scores:
        if score.error is not None:
            where = f" (line {score.error.line})" if score.error.line else ""
            reason = console.plain(score.error.message, 200).replace("\n", " ")
            text = f"{short(score.pruner)} at {score.sparsity}: {console.plain(score.error.type, 60)}: ".replace(
                "\n", " "
            )
            out.print(Text(f"{text}{reason}{where}", "dim"), soft_wrap=True)
    for score in scores:
        marks = {
            "quarantined, not to be believed": score.quarantined,
            "uneven budget": not score.uniform,
            "nondeterministic: a second run with the same seed gave other weights": score.repeatable is False,
            "a second run gave the same weights": bool(score.repeatable),
        }
        if score.status == "OK" and any(marks.values()):
            said = ", ".join(mark for mark, holds in marks.items() if holds)
            out.print(Text(f"{short(score.pruner)} at {score.sparsity}: {said}", "yellow"), soft_wrap=True)
    for score in scores:
        for note in score.notes:
            said = console.plain(note, _NOTE_CHARACTERS).replace("\n", " ")
            out.print(Text(f"{short(score.pruner)} at {score.sparsity}: {said}", "dim"), soft_wrap=True)
    dense = scores[0].dense_perplexity if scores else None
    level = scores[0].isolation if scores else ""
    rounds = f", pruned in {measurement.rounds} rounds" if measurement.rounds != 1 else ""
    out.print(
        f"dense {_number(dense, 3)}; protocol {measurement.id} ({measurement.windows} windows of {measurement.seqlen} "
        f"tokens, per token, {measurement.dtype}, evaluation {measurement.evaluation}{rounds}); isolation {level}",
        style="dim",
        markup=False,
        soft_wrap=True,
    )
    if measurement.not_pruned:
        out.print(f"not pruned: {measurement.not_pruned}", style="dim", markup=False, soft_wrap=True)


def print_texts(scores: Sequence[Score], dense_text: str) -> None:
    """How the dense and the pruned models go on from the prompt, every text made harmless and one line each."""
    from rich.console import Console
    from rich.text import Text

    out = Console(highlight=False)
    named = [(f"{short(score.pruner)} at {score.sparsity}", score.text) for score in scores if score.text is not None]
    for name, text in [("dense", dense_text), *named]:
        out.print(Text.assemble((f"{name}: ", "dim"), console.plain(text).replace("\n", " ⏎ ")), soft_wrap=True)


def short(name: str) -> str:
    """A pruner's name as one short line; of a long path, the end."""
    line = console.plain(name).replace("\n", " ")
    return line if len(line) <= _NAME_CHARACTERS else f"…{line[1 - _NAME_CHARACTERS :]}"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
