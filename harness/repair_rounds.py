"""Rounds of repairs: each is a study of its own, made from the results of the round before."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import pruners, repairs
from harness.errors import EndpointFault, UsageError
from harness.ledger import Ledger
from harness.recorded import default_results
from harness.store import Plan, Store
from harness.study import Study, load, parse

_STUDY_FILE = "study.toml"


@dataclass(frozen=True)
class Round:
    """One round, to be run, or run already."""

    study: Study
    results: Path
    """Its results file, whether there is one by now or not."""
    left_out: int
    """Attempts of the round before that are open, so that nobody knows whether they failed; 0 of a round on file."""

    @property
    def file(self) -> Path:
        """Where its study file goes."""
        return self.results.with_name(_STUDY_FILE)


def next_round(before: Path) -> Round | None:
    """The round that asks for what failed in the results file `before`; None where nothing failed.

    Its results lie in a folder beside those of the round before. A round that was begun is as its study file has it,
    which may have been edited since, as by a higher `max_cost`.

    Raises:
        UsageError: the study asked no generator, an attempt is not answered or not run, or what is in the folder of the
            round is another study.
        StorageFault: the results cannot be read.
    """
    with Store(before, create=False) as store:
        plan, promised, fates = store.plan(), [one["id"] for one in Ledger(store).attempts()], repairs.fates(store)
        met = {(score.target, score.sparsity, score.pruner) for score in store.scores()}
        # a fault of the endpoint is from before the answer came: the cell was not run yet
        faults = [fault for fault in store.faults() if fault.status != EndpointFault.status]
        met |= {(fault.target, fault.sparsity, fault.pruner) for fault in faults}
    if plan is None or not promised:
        raise UsageError(f"{before}: no generator was asked, so there is nothing to repair")
    study = parse(plan.text, f"{before}: its study file")
    _check_complete(study, promised, [cell.pruner for cell in plan.cells if cell.key not in met])
    one_pass, number = repairs.round_of(study.name)
    if number and not study.repairs:
        one_pass, number = study.name, 0  # a study that is just called so
    name = repairs.round_name(one_pass, number + 1)
    results = before.parent.parent / name / before.name
    if results.is_file():
        with Store(results, create=False) as store:
            begun = store.plan()
        if begun is not None:
            return Round(_begun(begun, results, study, promised), results, 0)
    failed = [attempt for attempt, fate in fates.items() if fate is repairs.Fate.FAILED]
    if not failed:
        return None
    is_default = before.resolve() == default_results(study.name).resolve()
    text = _text(study, name, study.name if is_default else str(before.parent), failed)
    left_out = sum(fate is repairs.Fate.OPEN for fate in fates.values())
    return Round(parse(text, f"round {number + 1} of {one_pass}"), results, left_out)


def _check_complete(study: Study, promised: list[str], not_run: list[str]) -> None:
    again = f"run `harness study run` with it to the end, then repair it: study {study.name!r}"
    archived = pruners.candidate_folders()
    if unanswered := sum(attempt not in archived for attempt in promised):
        raise UsageError(f"{again} has {unanswered} attempts without an answer in the archive")
    if waiting := len(set(not_run) & set(promised)):
        raise UsageError(f"{again} has {waiting} answers that were not run at each sparsity")


def _begun(plan: Plan, results: Path, before: Study, promised: list[str]) -> Study:
    file = results.with_name(_STUDY_FILE)
    study = load(str(file)) if file.is_file() else parse(plan.text, f"{results}: its study file")
    if not study.repairs or not set(study.repaired) <= set(promised):
        raise UsageError(f"{results} holds a study that is no round of repairs of {before.name!r}: move it away")
    return study


def _text(before: Study, name: str, results: str, failed: list[str]) -> str:
    """The study file of a round: the generators and settings of the round before, and what they are asked for again."""
    dropped = {"name", "pruners", "ideas", "prompts", "samples", "generators", "repairs", "repaired"}
    keys = {"name": name, "repairs": results, "repaired": failed}
    keys |= before.model_dump(mode="json", exclude_unset=True, exclude=dropped)
    tables = [one.model_dump(mode="json", exclude_unset=True) for one in before.generators]
    lines = [f"# A round of repairs, made by `harness study repair` from the results of {before.name}."]
    lines += _lines(keys)
    for table in tables:
        lines += ["", "[[generators]]", *_lines(table)]
    return "\n".join(lines) + "\n"


def _lines(table: dict[str, Any]) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in table.items() if value is not None]


def _value(value: Any) -> str:
    """A value of a study file as TOML, whose texts, numbers and lists are written as JSON's but for one character."""
    if isinstance(value, list) and len(value) > 1:
        return "[\n" + "".join(f"    {_value(one)},\n" for one in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
