"""A results file as bytes that depend on what is in it alone, also while a study writes to it."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from harness.database import SCHEMA
from harness.errors import StorageFault


def snapshot(path: Path) -> bytes:
    """A results file with the content of `path` at one moment.

    SQLite's own backup reads it, so that a study may go on meanwhile. The copy is then written row by row in the order
    of the keys: equal content gives equal bytes, whatever was written, replaced or removed before (which VACUUM does
    not promise), by the same version of SQLite.

    Raises:
        StorageFault: it cannot be read, or there is no room for the copy.
    """
    try:
        with (
            closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=30)) as source,
            closing(sqlite3.connect(":memory:")) as copy,
            tempfile.TemporaryDirectory() as folder,
        ):
            source.backup(copy)
            file = Path(folder, "results.sqlite")
            with closing(sqlite3.connect(file, isolation_level=None)) as fresh:
                _write(copy, fresh)
            return file.read_bytes()
    except (sqlite3.Error, OSError) as error:
        text = str(error).replace("\n", " ")
        raise StorageFault(f"{path}: cannot be copied ({text}); make room, or see that it is a results file") from error


def check_plain(path: Path) -> None:
    """See that a stranger's results file has our tables alone: a view, a trigger or a column that is computed is a
    program that reading would run.

    Raises:
        StorageFault: it has others, or is no SQLite file.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    except sqlite3.Error as error:
        raise StorageFault(f"{path}: is no results file ({error}); get the pack again") from error
    if any(sql not in SCHEMA for (sql,) in found):
        raise StorageFault(
            f"{path}: has other tables than those of results, so no harness wrote it; do not use this pack"
        )


def _write(copy: sqlite3.Connection, fresh: sqlite3.Connection) -> None:
    tables = copy.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
    fresh.execute("PRAGMA foreign_keys = OFF")
    fresh.execute("BEGIN")
    for name, sql in tables:
        fresh.execute(sql)
        columns = copy.execute("SELECT name, pk FROM pragma_table_info(?) ORDER BY cid", (name,)).fetchall()
        keys = [column for column, place in sorted(columns, key=lambda one: one[1]) if place]
        rows = copy.execute(f"SELECT * FROM {_quoted(name)} ORDER BY {', '.join(map(_quoted, keys))}")  # noqa: S608
        marks = ", ".join("?" * len(columns))
        fresh.executemany(f"INSERT INTO {_quoted(name)} VALUES ({marks})", rows)  # noqa: S608
    for pragma in ("application_id", "user_version"):
        fresh.execute(f"PRAGMA {pragma} = {int(copy.execute(f'PRAGMA {pragma}').fetchone()[0])}")
    fresh.execute("COMMIT")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
