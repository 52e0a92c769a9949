"""Frames as files: CSV for any program, Parquet (extra `parquet`) where dtypes are to survive."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from harness import atomic
from harness.csv_text import to_csv
from harness.errors import UsageError
from harness.frames import Frames
from harness.names import install


def check_installed(form: str) -> None:
    """See that the format can be written.

    Raises:
        UsageError: pyarrow is missing.
    """
    if form == "parquet" and find_spec("pyarrow") is None:
        raise UsageError(f"Parquet needs the package pyarrow: {install('parquet')}, or --format csv")


def write(frames: Frames, folder: Path, form: str) -> list[Path]:
    """Write each frame as `folder/<frame>.<form>`, whole or not at all, and return the paths; csv or parquet.

    In CSV, NA is an empty field (the status `NA` is not), and a text that a spreadsheet would take for a formula has an
    apostrophe in front.

    Raises:
        UsageError: as `check_installed`.
        StorageFault: they cannot be written.
    """
    check_installed(form)
    paths = []
    for name, frame in frames.items():
        path = folder / f"{name}.{form}"
        atomic.write(path, to_csv(frame).encode() if form == "csv" else to_parquet(frame))
        paths.append(path)
    return paths


def to_parquet(frame: pd.DataFrame) -> bytes:
    """One row group, with what pandas needs to restore the dtypes."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, engine="pyarrow", index=False)
    return buffer.getvalue()
