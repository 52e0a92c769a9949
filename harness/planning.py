"""What a study sets out to do: the attempts of its generators, its pruners, and its cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from hashlib import sha256

from harness import pruners, repairs
from harness.errors import UsageError
from harness.ledger import Attempt
from harness.recorded import results_file
from harness.records import Pruner
from harness.stages.idea import find_idea, ideas
from harness.stages.prompt import DEFAULT_TEMPLATE, render
from harness.store import Cell
from harness.study import Study, StudyGenerator


def attempts(study: Study) -> list[Attempt]:
    """All that the generators of a study are asked, in the order of the file: nothing else decides it.

    A round of repairs also needs the results of the round before, and what is archived of it.

    Raises:
        UsageError: there is no such idea or template, or two attempts would have one id; of repairs: no such results,
            or no such failure in them.
        InputFault: an archived candidate cannot be read.
    """
    if study.repairs:
        asked_again = repairs.prompts(results_file(study.repairs), study.repaired)
        return [
            Attempt(name, generator.label, generator.model, asked_again[former])
            for name, former, generator in _repaired(study)
        ]
    chosen = [idea for text in study.ideas for idea in (ideas() if text == "*" else [find_idea(text)])]
    chosen = list({idea.slug: idea for idea in chosen}.values())
    rendered = {(idea.slug, template): render(idea, template) for template in study.prompts for idea in chosen}
    found = [
        Attempt(
            f"{_folder(study, generator, template)}/{idea.slug}/{sample:02d}", generator.label, generator.model, prompt
        )
        for generator in study.generators
        for template in study.prompts
        for idea in chosen
        for prompt in [rendered[idea.slug, template]]
        for sample in range(1, study.samples + 1)
    ]
    ids = Counter(attempt.id for attempt in found)
    if twice := next((name for name, count in ids.items() if count > 1), None):
        where = f"two attempts would have the id {twice}: give a generator another name"
        raise UsageError(f"study {study.name!r}: {where}")
    return found


def _repaired(study: Study) -> Iterator[tuple[str, str, StudyGenerator]]:
    """Of a round of repairs: the id of each attempt, that of the failed one, and who is asked; by the file alone."""
    _, number = repairs.round_of(study.name)
    for former in study.repaired:
        generator = study.repairer(former)
        assert generator is not None  # as the file was checked
        yield repairs.repaired_id(former, number), former, generator


def _expected(study: Study) -> Iterator[Pruner]:
    """A pruner without code for each attempt; what it was or will be asked plays no part."""
    if study.repairs:
        for name, former, generator in _repaired(study):
            yield Pruner(name, "model", None, idea=former.split("/")[1], model=generator.model)
        return
    for attempt in attempts(study):
        yield Pruner(attempt.id, "model", None, idea=attempt.prompt.idea.slug, model=attempt.model)


def _folder(study: Study, generator: StudyGenerator, template: str) -> str:
    """Where a generator's answers are archived: apart from those of other studies, and of other templates."""
    other = "" if template == DEFAULT_TEMPLATE else f".{template}"
    return f"{study.name}.{generator.label}{other}"


def resolve(study: Study) -> dict[str, Pruner]:
    """The pruners of a study by name, in its order; `prefix*` stands for all archived candidates it begins.

    An attempt that no answer was archived for is a pruner without code and without a status.

    Raises:
        UsageError: a name fits nothing, or two entries give one pruner's name.
        InputFault: an archived candidate cannot be read.
    """
    found: dict[str, Pruner] = {}
    archived = pruners.candidate_folders() if study.generators else {}
    for blank in _expected(study):
        found[blank.name] = pruners.find(blank.name) if blank.name in archived else blank
    for entry in study.pruners:
        for pruner in _matches(entry):
            if pruner.name in found:
                raise UsageError(f"study {study.name!r}: the key 'pruners' names {pruner.name!r} twice")
            found[pruner.name] = pruner
    return found


def plan(study: Study, by_name: dict[str, Pruner] | None = None) -> list[Cell]:
    """All cells of a study: target by target, sparsity by sparsity, in the file's order.

    `by_name` is what `resolve` gave, where it was asked already.
    """
    by_name = resolve(study) if by_name is None else by_name
    digests = {
        name: None if pruner.source is None else sha256(pruner.source).hexdigest() for name, pruner in by_name.items()
    }
    return [
        Cell(target, sparsity, name, digests[name])
        for target in study.targets
        for sparsity in study.sparsities
        for name in by_name
    ]


def _matches(entry: str) -> Iterator[Pruner]:
    if not entry.endswith("*"):
        yield pruners.find(entry)
        return
    begin = entry[:-1]
    fitting = sorted(name for name in pruners.candidates() if name.startswith(begin))
    if ".repair-" not in begin:  # a repair is no one-pass candidate: it is run beside such only where it is named
        fitting = [name for name in fitting if not repairs.is_repair(name)]
    if not fitting:
        raise UsageError(f"the key 'pruners' has {entry!r}, but no archived candidate begins so: see `harness pruners`")
    yield from map(pruners.find, fitting)
