"""Results -> the draft's Tables 1 to 6, one of each for every target of a study.

Only ratios stand in them, as in the draft: patterns and structures are in the leaderboard.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from harness.console import plain
from harness.records import Score, Sparsity
from harness.report.paper import draft
from harness.report.paper.draft import Value
from harness.report.paper.table import Column, Table
from harness.report.results import Results
from harness.stages.idea import ideas
from harness.status import Outcome, Status

Levels = Mapping[float, Score]
"""One pruner's scores on one target, by ratio."""
PRUNERS = {
    1: {"Wanda": "wanda", "SparseGPT": "sparsegpt", "Magnitude": "magnitude", "Movement": "movement"},
    2: {"Prune by Weights": "magnitude", "Prune by -Weights": "negative_magnitude"},
    3: {"Prune by Bias": "bias", "Prune by -Bias": "negative_bias"},
}
"""By table: which pruner stands under which heading of the draft."""
_CAPTIONS = {
    1: "Perplexity on pruned model, from human domain experts",
    2: "Effectiveness of the weights as a major pruning measure",
    3: "Effectiveness of the bias as a major pruning indicator",
    4: "One-pass code generation and effectiveness evaluation",
    5: "Perplexity on pruned model, from AIGC domain experts",
    6: "Effect of pruned model applying to downstream task: text generation",
}
_HERE, _DRAFT = "here", "draft"
_LEVEL = Column("Pruned level")
_TEXT_PRUNERS = ("sparsegpt", "wanda", "movement", "magnitude")
_TEXT_CHARACTERS = 160
_NAME_CHARACTERS = 60


def tables(results: Results) -> list[Table]:
    """All six for each target, in the draft's order."""
    makers = (_by_people, _by_people, _by_people, _attempts, _by_models, _texts)
    return [
        maker(number, target, results) for number, maker in enumerate(makers, start=1) for target in results.targets
    ]


def levels(scores: Iterable[Score], target: str, pruner: str) -> dict[float, Score]:
    """One pruner's scores on a target by ratio, rising."""
    found = {}
    for score in scores:
        sparsity = Sparsity.parse(score.sparsity)
        if (score.target, score.pruner) == (target, pruner) and sparsity.n is None and sparsity.structure is None:
            found[sparsity.ratio] = score
    return dict(sorted(found.items()))


def first_samples(results: Results, target: str) -> dict[str, Levels]:
    """Of each model and idea the sample that was asked for first, by a heading: what one pass gave."""
    first: dict[tuple[str | None, str | None], str] = {}
    for score in results.scores:
        if score.author == "model" and score.target == target:
            first.setdefault((score.model, score.idea), score.pruner)
    several = len({model for model, _ in first}) > 1
    found: dict[str, Levels] = {}
    for (model, idea), pruner in sorted(first.items(), key=lambda item: (_place(item[0][1]), str(item[0][0]))):
        heading = _idea(idea) + (f", {plain(model or '', _NAME_CHARACTERS)}" if several else "")
        found[heading if heading not in found else plain(pruner, _NAME_CHARACTERS)] = levels(
            results.scores, target, pruner
        )
    return found


def _by_people(number: int, target: str, results: Results) -> Table:
    columns = {heading: levels(results.scores, target, name) for heading, name in PRUNERS[number].items()}
    drafts = {heading: draft.curve(number, heading) for heading in columns}
    notes = [_about(draft.LLAMA, target, results), *_remarks(columns, PRUNERS[number])]
    return _by_level(number, target, columns, drafts, notes)


def _by_models(number: int, target: str, results: Results) -> Table:
    """Table 5; a candidate without any perplexity stands in the notes."""
    columns, drafts = {}, {}
    failed: dict[str, list[str]] = {}
    numbers = {f"{idea.number} {idea.title}": f"aigc algorithm {idea.number}" for idea in ideas()}
    for title, scores in first_samples(results, target).items():
        name, comma, model = title.partition(", ")
        heading = numbers.get(name, name) + comma + model
        if any(score.status == Status.OK for score in scores.values()):
            columns[heading] = scores
            drafts[heading] = draft.curve(number, numbers.get(name, ""))
        else:
            failed.setdefault(model, []).append(f"{numbers.get(name, name)} ({_cause(scores.values())})")
    notes = [_about(draft.LLAMA, target, results), "Of each idea the first sample, under its number in Table 4."]
    for model, listed in failed.items():
        of_model = f" of {model}" if model else ""
        notes.append(f"Without a perplexity at any level{of_model}: {'; '.join(listed)}.")
    return _by_level(number, target, columns, drafts, [*notes, *_remarks(columns)])


def _by_level(
    number: int,
    target: str,
    columns: Mapping[str, Levels],
    drafts: Mapping[str, Mapping[float, Value]],
    notes: Sequence[str],
) -> Table:
    headings = [_LEVEL]
    for heading in columns:
        headings += [Column(heading, _HERE)] + [Column(heading, _DRAFT)] * bool(drafts[heading])
    rows = []
    for level in sorted({level for part in (*columns.values(), *drafts.values()) for level in part}):
        row: list[Value] = [_level(level)]
        for heading, scores in columns.items():
            row.append(_value(scores.get(level)))
            row += [drafts[heading].get(level)] * bool(drafts[heading])
        rows.append(tuple(row))
    return Table(number, _CAPTIONS[number], target, tuple(headings), tuple(rows), tuple(notes))


def _attempts(number: int, target: str, results: Results) -> Table:
    """Table 4: what came of each idea, by model."""
    attempts: dict[tuple[str, str], dict[str, list[Score]]] = {}
    for score in results.scores:
        if score.author == "model" and score.target == target:
            samples = attempts.setdefault((score.model or "", score.idea or ""), {})
            samples.setdefault(score.pruner, []).append(score)
    models = list(dict.fromkeys(model for model, _ in attempts))
    waiting = {pruner for where, pruner in results.unfinished() if where == target}
    known = {idea.slug: idea for idea in ideas()}
    others = dict.fromkeys(slug for _, slug in attempts if slug not in known)
    printed = {int(row["Number"]): row for row in draft.rows(number)}
    rows: list[tuple[Value, ...]] = []
    for slug in (*known, *others):
        idea = known.get(slug)
        row = printed.get(idea.number or 0, {}) if idea else {}
        title = idea.title if idea else plain(slug, _NAME_CHARACTERS)
        cells = [_outcome(attempts.get((model, slug), {}), waiting) for model in models]
        rows.append((row.get("Number", ""), title, *cells, row.get("Status"), row.get("Usage Scenario")))
    headings = [Column("Status", plain(model, _NAME_CHARACTERS), is_text=True) for model in models]
    begin, end = (
        (Column("Number"), Column("Core idea", is_text=True, wide=0.25)),
        Column("Usage scenario", is_text=True),
    )
    columns = (*begin, *headings, Column("Status", f"o1, {_DRAFT}", is_text=True), end)
    note = "OK: a perplexity at every sparsity that the study asks for. The draft asked o1 once for each idea."
    return Table(number, _CAPTIONS[number], target, columns, tuple(rows), (note,))


def _texts(number: int, target: str, results: Results) -> Table:
    """Table 6, of one pruner; the first row is the dense model."""
    found = {name: levels(results.scores, target, name) for name in _TEXT_PRUNERS}
    with_texts = [name for name, scores in found.items() if any(score.text for score in scores.values())]
    pruner = (with_texts or _TEXT_PRUNERS)[0]
    scores, prompt = found[pruner], results.prompt or draft.PROMPT
    measurement = results.measurements.get(target)
    printed = {float(row["Pruned Level"]): row for row in draft.rows(number)}
    rows: list[tuple[Value, ...]] = []
    for level in sorted({0.0, *scores, *printed}):
        score, row = scores.get(level), printed.get(level, {})
        value, text = _value(score), score.text if score else None
        if level == 0:
            value = results.dense_perplexity(target)
            text = measurement.dense_text if measurement else None
        spoken = None if text is None else plain(f"{prompt}{text}", _TEXT_CHARACTERS).replace("\n", " ")
        theirs = draft.value(row["Perplexity"]) if row else None
        rows.append((_level(level), value, theirs, spoken, row.get(draft.PROMPT)))
    notes = [_about(draft.OPT, target, results), f"Pruned by {pruner}; the draft does not name its pruner."]
    if not with_texts:
        notes.append(f'The study asked for no texts: text = "{draft.PROMPT}" in its file does.')
    said = [Column(f"{prompt} …", sub, is_text=True, wide=0.3) for sub in (_HERE, _DRAFT)]
    columns = (_LEVEL, Column("Perplexity", _HERE), Column("Perplexity", _DRAFT), *said)
    return Table(number, _CAPTIONS[number], target, columns, tuple(rows), tuple(notes))


def _outcome(samples: Mapping[str, Sequence[Score]], waiting: Collection[str]) -> str | None:
    """What came of the samples of an idea, in the draft's words, with how many and why where it is not plain."""
    if not samples:
        return None
    passed = [name for name, scores in samples.items() if all(map(_is_ok, scores))]
    if open_ones := [name for name in passed if name in waiting]:
        return f"not finished ({len(open_ones)} of {len(samples)} samples)"
    failed = [score for name, scores in samples.items() if name not in passed for score in scores]
    cause = _cause(failed) if failed else ""
    if len(samples) > 1:
        return f"OK in {len(passed)} of {len(samples)}" + (f" ({cause})" if cause else "")
    fine = sum(map(_is_ok, failed))
    if passed or fine:
        return Outcome.OK.value if passed else f"OK at {fine} of {len(failed)} levels ({cause})"
    return cause if cause == Outcome.NA else f"{Outcome.ERROR.value} ({cause})"


def _level(level: float) -> str:
    """`0.50` as in the draft, with more digits only where it has them."""
    return max(f"{level:.2f}", f"{level:g}", key=len)


def _is_ok(score: Score) -> bool:
    return score.status == Status.OK and not score.quarantined


def _cause(scores: Iterable[Score]) -> str:
    """What is not OK most often."""
    bad = (score for score in scores if not _is_ok(score))
    return Counter("quarantined" if one.quarantined else one.status for one in bad).most_common(1)[0][0]


def _value(score: Score | None) -> Value:
    """The perplexity, or the word that stands for it."""
    if score is None:
        return None
    if score.quarantined:
        return "quarantined"
    return score.perplexity if score.status == Status.OK else score.status


def _about(model: str, target: str, results: Results) -> str:
    """Where both columns come from, and whether they can be compared."""
    measurement = results.measurements.get(target)
    how = f", {measurement.windows} windows of {measurement.seqlen} tokens" if measurement else ""
    protocol = f" (protocol {measurement.id}{how})" if measurement else ""
    ours = f"Here: {target}{protocol}. Draft: {model}"
    if draft.is_of(model, target):
        return f"{ours}; its text and windows are not stated."
    return f"{ours}, so compare the shapes and not the values."


def _remarks(columns: Mapping[str, Levels], pruners: Mapping[str, str] | None = None) -> list[str]:
    """Who is missing, who cannot apply and why, and what ran outside a container."""
    remarks = []
    names = pruners or {}
    if missing := [names[heading] for heading, scores in columns.items() if not scores and heading in names]:
        remarks.append(f"Not in the study: {', '.join(missing)}.")
    for heading, scores in columns.items():
        reasons = [one.error.message for one in scores.values() if one.status == Status.NA and one.error]
        if reasons:
            remarks.append(f"{heading}: NA, {plain(reasons[0], _TEXT_CHARACTERS)}.")
    every = [score for scores in columns.values() for score in scores.values()]
    if outside := sorted({score.isolation for score in every if score.isolation.split(":")[0] != "docker"}):
        remarks.append(f"Some ran with the isolation {', '.join(outside)}, weaker than docker.")
    return remarks


def _idea(slug: str | None) -> str:
    """`2 L1 Norm Pruning`, or the slug of an idea that is not the draft's."""
    for idea in ideas():
        if idea.slug == slug:
            return f"{idea.number} {idea.title}" if idea.number else idea.title
    return plain(slug or "", _NAME_CHARACTERS)


def _place(slug: str | None) -> int:
    return next((place for place, idea in enumerate(ideas()) if idea.slug == slug), 1 << 30)
