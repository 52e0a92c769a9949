"""Results -> a folder of pages for a browser: no server, no network, nothing outside of it.

Whatever a candidate can influence reaches a page through autoescape, through JSON without `<`, or as text that a script
sets; a content security policy lets no inline script run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import __version__, atomic
from harness.autopsy import Autopsy
from harness.causes import Cause
from harness.console import plain
from harness.records import Score
from harness.report import causes
from harness.report.document import CURVES, MODELS, WINS, curve_texts, protocol_text
from harness.report.findings import Findings
from harness.report.models import headings, texts
from harness.report.page import candidate, charts, data
from harness.report.page.code import readable
from harness.report.repair_table import NOTE
from harness.report.results import Results
from harness.stages.leaderboard import summary_headings, summary_texts
from harness.standings import NAME_CHARACTERS
from harness.status import Outcome
from harness.templates import rendered

__all__ = ["write"]

_TEMPLATES = Path(__file__).parent / "templates"
_RANKS = "one more than the number of pruners that are significantly better on the same windows."
_PROMPT_CHARACTERS = 60_000


def write(found: Findings, folder: Path) -> Path:
    """Write the pages, and return the one to open; the same bytes for the same results.

    `folder` is made when missing; pages of an earlier report that are not written again go.

    Raises:
        StorageFault: the folder cannot be written.
    """
    results = found.results
    pages = candidate.pages(results.scores)
    prompts = _prompt_pages(results)
    files: dict[str, str] = {
        "index.html": _page("index", "", results, **_index(found, pages)),
        "compare.html": _page("compare", "", results),
        "data.js": data.script("STUDY", data.study(found, pages)),
        "assets/vega.js": charts.bundle(),
    }
    files |= {f"assets/{path.name}": path.read_text(encoding="utf-8") for path in sorted(charts.assets().iterdir())}
    for prompt, page in prompts.items():
        asked = [(name, page) for name, page in pages.items() if _prompt(results, name) == prompt]
        files[page] = _page("prompt", "../", results, prompt=readable(prompt, _PROMPT_CHARACTERS), pruners=asked)
    for name, page in pages.items():
        context = candidate.context(name, results, prompts, found.alike)
        heats = data.as_json(context["heats"])
        files[page] = _page("pruner", "../", results, **context, heat_data=heats)
    for name, text in files.items():
        atomic.write(folder / name, text.encode())
    _remove_others(folder, files)
    return folder / "index.html"


def _page(template: str, root: str, results: Results, **values: Any) -> str:
    common = {"study": results.name, "root": root, "version": __version__, "rank_note": _RANKS}
    return rendered(_TEMPLATES, f"{template}.html.j2", autoescape=True, **common, **values)


def _index(found: Findings, pages: Mapping[str, str]) -> dict[str, Any]:
    results, authors, models, curves = found.results, found.authors, found.models, found.curves
    against, saved, by_level = found.wins, found.repairs, found.sparsities
    tables = [
        _table("authors", "By author", summary_headings(authors), summary_texts(authors)),
        _table("models", "By model", headings(models), texts(models), MODELS),
        _table("over", "Over sparsities", curves.columns, curve_texts(curves), CURVES),
        _table("wins", "Human against model", against.columns, against.itertuples(index=False, name=None), WINS),
        _table("failures", "Failures by cause", *_failures(results)),
        _table("causes", causes.CAPTION, causes.HEADINGS, causes.texts(found.failures), causes.NOTE),
        _table("autopsies", "Each failure", *_autopsies(results)),
        _table("repairs", "Repairs", saved.columns, saved.itertuples(index=False, name=None), NOTE),
        _table("all", "All sparsities", by_level.columns, by_level.itertuples(index=False, name=None)),
    ]
    return {
        "notices": results.notices(),
        "tables": [table for table in tables if table["rows"] or table["id"] == "failures"],
        "protocols": [protocol_text(measurement) for measurement in results.measurements.values()],
        "pages": pages,
    }


def _table(
    name: str, heading: str, headings: Iterable[object], rows: Iterable[Sequence[object]], note: str = ""
) -> Any:
    cells = [[str(cell) for cell in row] for row in rows]
    return {"id": name, "heading": heading, "headings": [str(one) for one in headings], "rows": cells, "note": note}


def _failures(results: Results) -> tuple[list[str], list[list[str]], str]:
    """How many cells of each author, or model, failed so; the commonest cause first."""
    counts: dict[Cause, dict[str, int]] = {}
    for score, why in _failed(results):
        who = plain(score.model or score.author, NAME_CHARACTERS)
        counts.setdefault(why.cause, {}).setdefault(who, 0)
        counts[why.cause][who] += 1
    authors = sorted({who for row in counts.values() for who in row})
    order = sorted(counts, key=lambda cause: (-sum(counts[cause].values()), cause))
    rows = [[cause, cause.meaning, *(str(counts[cause].get(who, 0)) for who in authors)] for cause in order]
    return ["cause", "meaning", *authors], rows, "Cells by cause; what one pruner does at one sparsity is a cell."


def _autopsies(results: Results) -> tuple[list[str], list[list[str]], str]:
    """Each different failure of each pruner, by cause."""
    cells: dict[tuple[Cause, str, str, str], int] = {}
    for score, why in _failed(results):
        key = (why.cause, score.pruner, why.rule or "", why.sentence)
        cells[key] = cells.get(key, 0) + 1
    rows = [[name, cause, rule, sentence, str(count)] for (cause, name, rule, sentence), count in sorted(cells.items())]
    note = "The rule is what the pruning interface says and the pruner did not keep, where the evidence names one."
    return ["pruner", "cause", "rule", "what happened", "cells"], rows, note


def _failed(results: Results) -> Iterator[tuple[Score, Autopsy]]:
    for score in results.scores:
        why = causes.autopsy_of(score, results) if score.outcome == Outcome.ERROR else None
        if why is not None:
            yield score, why


def _prompt_pages(results: Results) -> dict[str, str]:
    prompts = dict.fromkeys(a.prompt for a in results.attempts.values() if a.prompt)
    return {text: f"prompts/{hashlib.sha256(text.encode()).hexdigest()[:12]}.html" for text in prompts}


def _prompt(results: Results, pruner: str) -> str | None:
    attempt = results.attempts.get(pruner)
    return attempt.prompt if attempt else None


def _remove_others(folder: Path, files: Mapping[str, str]) -> None:
    """Pages of pruners that the study no longer has."""
    for part in ("pruners", "prompts"):
        for path in (folder / part).glob("*.html"):
            if f"{part}/{path.name}" not in files:
                path.unlink(missing_ok=True)
