"""`harness report`: the leaderboard of a study, in the terminal and as files."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from harness.cli._options import json_option
from harness.console import notice
from harness.errors import UsageError
from harness.names import slug

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from harness.recorded import Recorded
    from harness.report import Findings

_WIDE = 110
"""Columns of a terminal from which all of a row is shown."""
_NARROWEST = 12
"""Columns that a pruner's name keeps."""
_RANKINGS = 40
"""Of the terminal; nobody reads more."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("studies", metavar="STUDY...", nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder. [default: report, beside the results; of a pack or several studies, here]",
)
@json_option
@click.option("--paper", is_flag=True, help="Also write the paper draft's tables and figures, in the folder `paper`.")
@click.option("--no-pages", is_flag=True, help="Leave out the pages for a browser.")
@click.option("--open", "open_page", is_flag=True, help="Open the pages in a browser.")
@click.option("--serve", is_flag=True, help="Serve the pages on this machine, up to date while the study runs.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of --serve. [default: any that is free]")
@click.option("--rank-any-isolation", is_flag=True, help="Rank what ran outside a container, too.")
def command(
    studies: tuple[str, ...],
    out: Path | None,
    json_file: str | None,
    paper: bool,
    no_pages: bool,
    open_page: bool,
    serve: bool,
    port: int,
    rank_any_isolation: bool,
) -> None:
    """Print the leaderboard of STUDY, and write it as Markdown, CSV and a figure.

    With --paper also Tables 1 to 6 and Figures 1 to 3 of the draft that the project grew out of, from this study beside
    the draft's own numbers: Markdown, CSV, LaTeX, PNG and PDF.

    STUDY is a study's name, its TOML file, its results folder, its results file or its pack. Several are ranked
    together where they were measured by the same protocol.
    """
    from harness.beside import Beside
    from harness.cli._output import check_writable, finite, tell_of_others, write_json
    from harness.recorded import recorded
    from harness.records import EXTRAS

    check_writable(json_file)
    sources = [recorded(study) for study in studies]
    if no_pages and (serve or open_page):
        raise UsageError("--no-pages leaves nothing to open or to serve: leave it out")
    if serve and len(studies) > 1:
        raise UsageError("--serve follows one study: give one")
    for source in sources:
        tell_of_others(source)
    rank_isolation = "any" if rank_any_isolation else None
    with Beside() as helper:
        from rich.console import Console

        from harness import report

        with _kept():
            each = [report.read(source.path, rank_isolation, source.pack) for source in sources]
        results = each[0] if len(each) == 1 else report.together(each)
        folder = out or default_folder(studies, sources[0].path, results.name)
        found = report.publish(results, folder, pages=not no_pages, helper=helper)
    repaired = report.REPAIR_FILES if results.repairs else ()
    written = [folder / name for name in (*report.FILES, *repaired, *([] if no_pages else [report.PAGE]))]
    if paper:
        from harness.report.paper.files import write as write_paper

        written += write_paper(results, folder / "paper")[:2]
    if json_file is not None:
        extras = [name for name in EXTRAS if any(getattr(score, name) is not None for score in results.scores)]
        write_json(json_file, [finite(score.to_json(extras)) for score in results.scores])
    if json_file != "-":
        screen = Console()
        show(screen, found)
        for file in written:
            screen.print(str(file), style="dim", soft_wrap=True, highlight=False, markup=False)
    page = folder / report.PAGE
    if serve:
        _serve(page, sources[0], rank_isolation, open_page, port)
    elif open_page:
        click.launch(page.absolute().as_uri())


@contextmanager
def _kept() -> Iterator[None]:
    """What the block makes, millions of objects, stays to the end: no garbage is looked for among it."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _serve(page: Path, source: Recorded, rank_isolation: str | None, open_page: bool, port: int) -> None:
    """Until interrupted."""
    from harness import report
    from harness.report.server import PageServer

    def remake() -> None:
        report.publish(report.read(source.path, rank_isolation, source.pack), page.parents[1])

    try:
        server = PageServer(page.parent, source.path, remake, port)
    except OSError as error:
        raise UsageError(f"--port {port}: {error.strerror}; give another port, or none") from None
    with server:
        notice(f"{server.address} until Ctrl-C")
        if open_page:
            click.launch(server.address)
        server.serve_forever()


def default_folder(studies: Sequence[str], results: Path, name: str) -> Path:
    """Beside the results; of several studies, or a pack, whose results are in the cache, in the current folder."""
    is_beside = len(studies) == 1 and not studies[0].endswith(".zip")
    return results.parent / "report" if is_beside else Path(f"{slug(name)}-report")


def show(screen: Console, found: Findings) -> None:
    """Print the rankings; a narrow terminal gets fewer columns, never broken rows."""
    from rich.text import Text

    from harness.console import plain

    tables = found.rankings
    for line in found.results.notices():
        screen.print(Text(plain(line)))
    for target, protocol, sparsity, dense, rows in tables[:_RANKINGS]:
        screen.print()
        against = f", dense {dense}" if dense else ""
        screen.print(Text(plain(f"{target}, sparsity {sparsity}{against}, protocol {protocol}", 200), style="bold"))
        screen.print(_ranking(rows, screen.width), no_wrap=True, overflow="ellipsis")
        if noted := "\n".join(f"{row.pruner}: {others}" for row in rows if (others := _other_notes(row))):
            screen.print(Text(noted, style="dim"))
    if any(_is_tie(row) for ranking in tables[:_RANKINGS] for row in ranking.rows):
        screen.print("\n= marks a tie: the rank is shared", style="dim", highlight=False)
    if (more := len(tables) - _RANKINGS) > 0:
        screen.print(f"\n{more} more rankings are in leaderboard.md", style="bold", highlight=False)
    screen.print()
    screen.print(_by_author(found.authors))
    screen.print()
    if len(found.repairs):
        _show_repairs(screen, found.repairs)


def _is_tie(row: Any) -> bool:
    from harness.stages.leaderboard import TIE

    return bool(row.notes.partition("; ")[0] == TIE)


def _other_notes(row: Any) -> str:
    """All but that of a tie, which the rank shows."""
    return str(row.notes.partition("; ")[2] if _is_tie(row) else row.notes)


def _ranking(rows: Sequence[Any], width: int) -> Text:
    """One line a row; rich's own tables take seconds for some thousands of them."""
    from rich.cells import cell_len
    from rich.text import Text

    from harness.stages.leaderboard import row_texts

    keys = {"rank": "#", "pruner": "pruner", "author": "by", "result": "perplexity", "interval": "95% interval"}
    keys["ratio"] = "x dense"
    if width >= _WIDE:
        keys |= {"achieved": "sparsity", "seconds": "seconds", "memory": "MiB", "isolation": "isolation"}
    shown = []
    for texts, is_tie in zip(map(row_texts, rows), map(_is_tie, rows), strict=True):
        result = texts["perplexity"] or texts["status"]
        shown.append({**texts, "rank": "=" * is_tie + texts["rank"], "result": result})
    widths = {key: max(cell_len(heading), *(cell_len(row[key]) for row in shown)) for key, heading in keys.items()}
    others = sum(2 + columns for key, columns in widths.items() if key != "pruner")
    room = widths["pruner"] = max(_NARROWEST, min(widths["pruner"], width - others))
    lines = Text()
    for row in (keys, *({**row, "pruner": _fitted(row["pruner"], room)} for row in shown)):
        cells = []
        for key, columns in widths.items():
            blanks = " " * (columns - cell_len(row[key]))
            cells.append(row[key] + blanks if key in ("pruner", "author", "isolation") else blanks + row[key])
        style = "underline" if row is keys else "" if row["rank"] else "dim"
        lines.append("  ".join(cells).rstrip(), style=style).append("\n")
    lines.right_crop(1)
    return lines


def _by_author(authors: pd.DataFrame) -> Table:
    from harness.stages.leaderboard import summary_headings, summary_texts

    table = _plain_table()
    for heading in summary_headings(authors):
        side: Literal["left", "right"] = "left" if heading in ("author", "template") else "right"
        table.add_column(heading, justify=side, no_wrap=True)
    for row in summary_texts(authors):
        table.add_row(*row)
    return table


def _show_repairs(screen: Console, frame: pd.DataFrame) -> None:
    from rich.text import Text

    from harness.report.repair_table import NOTE

    table = _plain_table()
    for place, heading in enumerate(frame.columns):
        table.add_column(str(heading), justify="left" if place < 2 else "right", overflow="fold")
    for row in frame.itertuples(index=False, name=None):
        table.add_row(*(Text(str(cell)) for cell in row))
    screen.print(Text("Repairs", style="bold"))
    screen.print(table)
    screen.print(Text(NOTE, style="dim"))
    screen.print()


def _plain_table() -> Table:
    from rich.table import Table

    return Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="underline")


def _fitted(name: str, room: int) -> str:
    """The middle goes: an id tells by its begin and its end."""
    if len(name) <= room:
        return name
    tail = name[max(name.rfind("/"), len(name) - room // 3) :]
    return f"{name[: room - len(tail) - 1]}…{tail}"
