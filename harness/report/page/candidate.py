"""Results -> what the page of one pruner shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.autopsy import Autopsy
from harness.console import plain
from harness.names import slug
from harness.overlap import Likenesses
from harness.records import Failure, Score
from harness.report.causes import autopsy_of
from harness.report.page.code import highlighted, readable
from harness.report.page.data import heat
from harness.report.results import Results
from harness.stages.idea import ideas
from harness.standings import NAME_CHARACTERS

_MESSAGE_CHARACTERS = 2000
_TRACEBACK_CHARACTERS = 8000
_ANSWER_CHARACTERS = 60_000
_TEXT_CHARACTERS = 600


@dataclass(frozen=True)
class Fault:
    """Why a pruner has no perplexity, and at which cells."""

    status: str
    autopsy: Autopsy
    type: str
    message: str
    traceback: str | None
    cells: str


def pages(scores: Iterable[Score]) -> dict[str, str]:
    """The file of each pruner's page, by its name; no two are the same."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for score in scores:
        if score.pruner not in found:
            base = name = slug(score.pruner)
            number = 1
            while name in taken:
                number += 1
                name = f"{base}-{number}"
            taken.add(name)
            found[score.pruner] = f"pruners/{name}.html"
    return found


def context(pruner: str, results: Results, prompts: Mapping[str, str], alike: Likenesses) -> dict[str, Any]:
    """The values of the template `pruner.html.j2`; `prompts` are the pages of prompts, by their text."""
    scores = [score for score in results.scores if score.pruner == pruner]
    attempt, first = results.attempts.get(pruner), scores[0]
    code = attempt.code if attempt else None
    near = {name for score in scores for name in alike.get((score.target, score.sparsity, pruner), {})}
    people = dict.fromkeys(score.pruner for score in results.scores if score.author == "human")
    references = [name for name in people if name in near]
    found = _faults(scores, results)
    line = next((one.autopsy.line for one in found if one.autopsy.line), None)
    idea = next((one for one in ideas() if one.slug == first.idea), None)
    return {
        "name": pruner,
        "author": first.author,
        "model": None if first.model is None else plain(first.model, NAME_CHARACTERS),
        "idea": None if first.idea is None else idea.title if idea else plain(first.idea, NAME_CHARACTERS),
        "description": idea.description if idea else None,
        "faults": found,
        "code": None if code is None else highlighted(code, line),
        "prompt_page": prompts.get(attempt.prompt or "") if attempt else None,
        "answer": readable(attempt.answer, _ANSWER_CHARACTERS) if attempt and attempt.answer is not None else None,
        "texts": [
            (score.target, score.sparsity, plain(f"{results.prompt or ''}{score.text}", _TEXT_CHARACTERS))
            for score in scores
            if score.text is not None
        ],
        "references": references,
        "masks": _masks(scores, alike, references),
        "facts": _facts(scores, results),
        "heats": _heats(scores, results),
        "remarks": sorted({plain(note, 300) for score in scores for note in score.notes}),
    }


def _faults(scores: Sequence[Score], results: Results) -> list[Fault]:
    """One for each different failure."""
    cells: dict[tuple[str, Failure | None, Autopsy], list[str]] = {}
    for score in scores:
        if (why := autopsy_of(score, results)) is not None:
            cells.setdefault((score.status, score.error, why), []).append(f"{score.target} at {score.sparsity}")
    faults = []
    for (status, error, why), where in cells.items():
        found = error or Failure("", "", "")
        faults.append(
            Fault(
                status,
                why,
                plain(found.type, 100),
                plain(found.message, _MESSAGE_CHARACTERS),
                None if found.traceback is None else readable(found.traceback, _TRACEBACK_CHARACTERS),
                ", ".join(where[:6]) + (f" and {len(where) - 6} more" if len(where) > 6 else ""),
            )
        )
    return faults


def _masks(scores: Sequence[Score], alike: Likenesses, references: Sequence[str]) -> list[tuple[str, str, list[str]]]:
    """How alike its masks are to those of the reference pruners: target, sparsity, and the agreement with each."""
    rows = []
    for score in scores:
        if found := alike.get((score.target, score.sparsity, score.pruner)):
            cells = [f"{found[name].agreement:.3f}" if name in found else "" for name in references]
            rows.append((score.target, score.sparsity, cells))
    return rows


def _facts(scores: Sequence[Score], results: Results) -> list[tuple[str, str]]:
    """Where it comes from and how it was run."""
    attempt = results.attempts.get(scores[0].pruner)
    facts = [
        (key.replace("_", " "), plain(value, 400))
        for key, value in ((attempt.facts if attempt else None) or {}).items()
    ]
    if attempt and attempt.completion_tokens is not None:
        facts.append(("completion tokens", f"{attempt.completion_tokens:,}"))
    if attempt and attempt.cost is not None:
        facts.append(("cost in US dollars", f"{attempt.cost:.4f}"))
    facts.append(("isolation", ", ".join(sorted({score.isolation for score in scores}))))
    facts.append(("seed", ", ".join(sorted({str(score.seed) for score in scores}))))
    with_ = (results.measured_with.get((score.target, score.sparsity, score.pruner)) for score in scores)
    facts += [("measured with", line) for line in dict.fromkeys(line for line in with_ if line)]
    facts += [("protocol", f"{m.id} on {m.target}") for m in results.measurements.values()]
    return facts


def _heats(scores: Sequence[Score], results: Results) -> list[dict[str, Any]]:
    heats = []
    for score in scores:
        zeros = results.zeros.get((score.target, score.sparsity, score.pruner))
        found = heat(results.measurements.get(score.target), zeros)
        if found is not None:
            heats.append({"title": f"{score.target} at {score.sparsity}", **found})
    return heats
