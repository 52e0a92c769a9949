"""Markdown tables, and arguments that survive a change of folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def heading(columns: Sequence[str]) -> str:
    """The first two lines of a table."""
    return f"{row(*columns)}\n|{' --- |' * len(columns)}"


def row(*cells: str) -> str:
    """One line of a table."""
    return f"| {' | '.join(cells)} |"


def number(value: float | None, digits: int) -> str:
    """A number, or nothing where it was not measured."""
    return "" if value is None else f"{value:.{digits}f}"


def ratio(value: float | None, other: float | None) -> str:
    """How many times the other the value is."""
    return "" if value is None or not other else f"{value / other:.2f}"


def mebibytes(value: float | None) -> str:
    """Bytes as MiB."""
    return number(None if value is None else value / 2**20, 0)


def absolute(path: str) -> str:
    """A path from the root if there is one, else the text as it is (a target's name)."""
    return str(Path(path).resolve()) if Path(path).exists() else path


def check_token_files(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the program with one line if `calibration` or `evaluation` is no file."""
    for file in (options.calibration, options.evaluation):
        if not Path(file).is_file():
            parser.error(f"no file {file}: give token ids, int [n, seqlen], saved by numpy")
