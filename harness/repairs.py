"""Repairs: which attempts of a study failed, and the prompt that hands one back together with what went wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from harness import archive, pruners
from harness.console import plain
from harness.errors import InputFault, UsageError
from harness.ledger import Ledger
from harness.records import Prompt, Score
from harness.stages.completion import text_of
from harness.stages.idea import find_idea
from harness.stages.prompt import render_repair
from harness.status import Status
from harness.store import Store

FORMER_CHARACTERS = 40_000
"""Of the former code or answer that a prompt holds."""
_MESSAGE_CHARACTERS = 1500
_TYPE_CHARACTERS = 200
_FAILURES = 5
"""Different ones that a prompt names."""
_ROUND = re.compile(r"(?P<study>.+)\.repair-(?P<number>[1-9]\d{0,2})", re.ASCII)


class Fate(StrEnum):
    """What became of an attempt, over all of its cells."""

    OK = "OK"
    """A perplexity, which is believed, in at least one."""
    NA = "NA"
    """It does not apply, where it did not fail."""
    FAILED = "failed"
    """An error in each: what is asked again."""
    OPEN = "open"
    """A cell without a result, such as a fault of the harness leaves it, or a quarantined one; and no cell is OK."""


def round_of(study: str) -> tuple[str, int]:
    """The name of the one-pass study and the number of the round that a study's name says; 0 for one pass."""
    found = _ROUND.fullmatch(study)
    return (study, 0) if found is None else (found["study"], int(found["number"]))


def round_name(one_pass: str, number: int) -> str:
    """What round `number` of a study is called."""
    return f"{one_pass}.repair-{number}"


def repaired_id(attempt: str, number: int) -> str:
    """The id of an attempt of round `number - 1`, 0 being one pass, in round `number`; the sample's number stays."""
    folder, _, rest = attempt.partition("/")
    return f"{folder.removesuffix(f'.repair-{number - 1}') if number > 1 else folder}.repair-{number}/{rest}"


def is_repair(candidate: str) -> bool:
    """Whether a candidate's id is that of a repair."""
    return _ROUND.fullmatch(candidate.partition("/")[0]) is not None


def fates(store: Store) -> dict[str, Fate]:
    """What became of each attempt that the study of `store` promised, in their order."""
    plan = store.plan()
    planned = {attempt["id"]: 0 for attempt in Ledger(store).attempts()}
    for cell in plan.cells if plan else ():
        if cell.pruner in planned:
            planned[cell.pruner] += 1
    scores = _by_pruner(store.scores())
    return {name: _fate(number, scores.get(name, [])) for name, number in planned.items()}


def _fate(planned: int, scores: Sequence[Score]) -> Fate:
    if any(score.status == Status.OK and not score.quarantined for score in scores):
        return Fate.OK
    if not scores or len(scores) < planned or any(score.quarantined for score in scores):
        return Fate.OPEN
    return Fate.NA if any(score.status == Status.NA for score in scores) else Fate.FAILED


def prompts(results: Path, attempts: Sequence[str]) -> dict[str, Prompt]:
    """For each of these attempts, all of which failed, the prompt that asks for it again.

    Args:
        results: the results file of the round before.
        attempts: ids of its attempts.

    Raises:
        UsageError: one is none of its attempts, has not failed, or its archived answer is gone.
        InputFault: an archived answer is not what was run.
        StorageFault: the results cannot be read.
    """
    with Store(results, create=False) as store:
        known, plan, scores = fates(store), store.plan(), _by_pruner(store.scores())
    digests = {cell.pruner: cell.source_sha256 for cell in plan.cells} if plan else {}
    folders = pruners.candidate_folders()
    found = {}
    for name in attempts:
        if known.get(name) is not Fate.FAILED:
            is_now = f"is {known[name]} by now" if name in known else "is none of its attempts"
            raise UsageError(f"{results}: {name[:120]!r} was to be asked for again, and {is_now}")
        if name not in folders:
            raise UsageError(f"no archived candidate {name[:120]!r}: put it back where it was, under generated")
        code, answer = _former(folders[name], name, digests[name])
        idea = find_idea(name.split("/")[1])
        found[name] = render_repair(idea, code=code, answer=answer, failures=_failures(scores[name]))
    return found


def _by_pruner(scores: Sequence[Score]) -> Mapping[str, list[Score]]:
    found: dict[str, list[Score]] = {}
    for score in scores:
        found.setdefault(score.pruner, []).append(score)
    return found


def _former(folder: Path, name: str, digest: str | None) -> tuple[str | None, str | None]:
    """The code that was run; where there was none, the answer, if it has a text."""
    source = archive.load(name, [folder.parents[2]]).source
    if (None if source is None else sha256(source).hexdigest()) != digest:
        raise InputFault(f"{folder} does not hold what was run: restore it")
    if source is not None:
        return _cleaned(source.decode(errors="replace"), FORMER_CHARACTERS), None
    try:
        exchange = json.loads(archive.files(folder)["completion.json"])
    except (ValueError, RecursionError):
        raise InputFault(f"{folder / 'completion.json'} is not JSON: restore it") from None
    text = text_of(exchange.get("response")) if isinstance(exchange, dict) else None
    return None, _cleaned(text, FORMER_CHARACTERS) if text else None


def _failures(scores: Sequence[Score]) -> list[str]:
    """What went wrong, each different thing once, with the sparsities at which it did."""
    found: dict[str, dict[str, None]] = {}
    for score in scores:
        found.setdefault(_failure(score), {})[score.sparsity] = None
    shown = [f"At sparsity {', '.join(where)}: {what}" for what, where in found.items()]
    more = [f"And {len(shown) - _FAILURES} more."] if len(shown) > _FAILURES else []
    return [*shown[:_FAILURES], *more]


def _failure(score: Score) -> str:
    meaning = Status(score.status).meaning if score.status in Status.__members__ else ""
    lines = [f"{score.status}. {meaning}".rstrip()]
    if score.error is not None:
        kind = _cleaned(score.error.type, _TYPE_CHARACTERS)
        said = _cleaned(score.error.message, _MESSAGE_CHARACTERS)
        lines.append(said if kind == score.status else f"{kind}: {said}")
        if score.error.line is not None:
            lines.append(f"In line {score.error.line} of the program.")
    return "\n".join(lines)


def _cleaned(text: str, limit: int) -> str:
    """As `plain`, and tabs stay: they are indentation."""
    bounded = text if len(text) <= limit else f"{text[:limit]} […]"
    lines = bounded.replace("\r\n", "\n").replace("\r", "\n")
    return "\t".join(plain(part, len(part)) for part in lines.split("\t"))
