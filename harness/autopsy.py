"""Score -> autopsy: why a pruner failed, from the record and, where it is known, the failing line of its source.

Only evidence counts: the status, which the host decided; the numbers of its check; the type and the words of an
exception, and the line that raised it. The last three are a stranger's words. They are bounded, cleaned and never
parsed as code; where they do not say what went wrong, the cause is `other`.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from harness.causes import Cause, Rule
from harness.console import plain
from harness.records import Failure, Score
from harness.status import Status
from harness.symptoms import cause_of

SENTENCE_CHARACTERS = 300
CODE_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Autopsy:
    """Why a pruner has no perplexity. Texts are cleaned and bounded; escape them where they are shown."""

    stage: str
    """Where it failed: completion, source, run or output."""
    cause: Cause
    line: int | None
    """In the pruner's file."""
    code_line: str | None
    """What stands there."""
    rule: Rule | None
    """What of the interface was broken; None where the evidence names none."""
    sentence: str
    """What went wrong, with its numbers and names; one line."""


def autopsy(score: Score, source: bytes | None = None, finish_reason: str | None = None) -> Autopsy | None:
    """Why a pruner failed; None of a score that is OK, and of a fault of the harness.

    Cause and rule follow from the record alone, so that every table of a study has the same.

    Args:
        score: the record.
        source: the code that was run; without it, the line's text is what the traceback says.
        finish_reason: why the answer ended, in the endpoint's words; it is told of an answer without code.
    """
    if score.status not in Status.__members__ or score.status == Status.OK:
        return None
    found = _Evidence(score)
    cause = _cause(found)
    rule = _rule(found, cause)
    sentence = _sentence(found, cause)
    if finish_reason and found.status.stage == "completion":
        sentence += f" (the endpoint's reason for its end: {finish_reason[:60]})"
    line = score.error.line if score.error else None
    code = found.code if source is None else _source_line(source, line)
    return Autopsy(
        found.status.stage,
        cause,
        line,
        plain(code.expandtabs(4).strip(), CODE_CHARACTERS) if code else None,
        rule,
        " ".join(plain(sentence, SENTENCE_CHARACTERS).split()),
    )


_FRAME = re.compile(r'^  File "([^"\n]*)", line (\d{1,9}), in ([^\n]*)(?:\n    ([^\n]*))?', re.MULTILINE)


class _Evidence:
    """What is known of a failure."""

    def __init__(self, score: Score) -> None:
        error = score.error or Failure("", "", "")
        self.status = Status(score.status)
        self.score = score
        self.type = " ".join(error.type[:100].split())
        self.message = re.sub(r"^with seed \d{1,20}: ", "", error.message[:2000])
        frames = list(_FRAME.finditer((error.traceback or "")[:8000]))
        own = [frame for frame in frames if frame[1] == "pruner.py" and int(frame[2]) == error.line]
        self.code: str | None = own[-1][4] if own else None
        """The failing line of the pruner's file, as the traceback has it."""
        self.is_in_keep = bool(frames) and frames[-1][1].endswith("sandbox/task.py") and frames[-1][3] == "keep"
        """Whether it went wrong inside of `layer.keep`."""


_OF_STATUS = {
    Status.NO_CODE: Cause.NO_CODE,
    Status.TRUNCATED: Cause.CUT_OFF,
    Status.REFUSED: Cause.REFUSED,
    Status.REJECTED_SOURCE: Cause.UNREADABLE,
    Status.SYNTAX_ERROR: Cause.SYNTAX,
    Status.INTERFACE_ERROR: Cause.NO_PRUNE,
    Status.TIMEOUT: Cause.TIME,
    Status.OUT_OF_MEMORY: Cause.MEMORY,
    Status.CRASHED: Cause.KILLED,
    Status.EXITED: Cause.NO_RESULT,
    Status.NON_FINITE: Cause.NUMERICAL,
    Status.PATTERN_VIOLATED: Cause.PATTERN,
    Status.NA: Cause.NOT_APPLICABLE,
}
"""The statuses that are a cause by themselves."""
_CALLED = re.compile(r"\.(?:weight|bias|inputs|input_norm|hessian|grad|fisher|calibration|name|block|ratio|n|m)\(")
_NOT_CALLED = re.compile(r"\.layers(?!\w|\()")
_PATTERN_NUMBERS = re.compile(r"\bsparsity\.[nm]\b")
_BIAS = re.compile(r"\.bias\b")


def _cause(found: _Evidence) -> Cause:
    status, message = found.status, found.message
    if status in _OF_STATUS:
        return _OF_STATUS[status]
    if status is Status.IMPORT_ERROR:
        return _of_import(found)
    if status is Status.SPARSITY_MISSED:
        if found.score.achieved_sparsity == 0:
            return Cause.NOTHING_PRUNED
        return Cause.UNEVEN_BUDGET if "says UNIFORM = False" in message else Cause.TOO_FEW_ZEROS
    if status is Status.BAD_OUTPUT:
        return Cause.SHAPE if " has shape [" in message else Cause.UNUSABLE_WEIGHTS
    if status is Status.RESOURCE_LIMIT:
        is_memory = found.type == "MemoryError" or re.search(r"allocate memory|\[Errno 12\]", message)
        return Cause.MEMORY if is_memory else Cause.OTHER_LIMIT
    return _of_exception(found)


def _of_import(found: _Evidence) -> Cause:
    if "cannot import name" in found.message:
        return Cause.INTERFACE if re.search(r"from '(?:sandbox\.)?interface'", found.message) else Cause.MISSING_NAME
    return Cause.MISSING_MODULE if "No module named" in found.message else Cause.OTHER


def _of_exception(found: _Evidence) -> Cause:
    code = (found.code or "").strip()
    if re.match(r"raise\b", code) and found.type and found.type in code:  # whatever its words are like
        return Cause.OWN_ERROR
    if re.match(r"assert\b", code) and found.type == "AssertionError":
        return Cause.OWN_ERROR
    if found.is_in_keep:
        return Cause.WRONG_TYPE
    if found.type == "TypeError":
        if "not callable" in found.message and _CALLED.search(code):
            return Cause.INTERFACE
        if "'method' object" in found.message and _NOT_CALLED.search(code):
            return Cause.INTERFACE
    return cause_of(found.type, found.message)


_RULES = {
    Cause.NO_CODE: Rule.PRUNE,
    Cause.CUT_OFF: Rule.PRUNE,
    Cause.REFUSED: Rule.PRUNE,
    Cause.UNREADABLE: Rule.PRUNE,
    Cause.SYNTAX: Rule.PRUNE,
    Cause.NO_PRUNE: Rule.PRUNE,
    Cause.INTERFACE: Rule.ALL_IT_SEES,
    Cause.NETWORK: Rule.NO_NETWORK,
    Cause.NOTHING_PRUNED: Rule.EXACT_ZEROS,
    Cause.UNEVEN_BUDGET: Rule.UNIFORM,
}
"""The causes that are about one rule in any case."""


def _rule(found: _Evidence, cause: Cause) -> Rule | None:
    message, status = found.message, found.status
    if cause in _RULES:
        return _RULES[cause]
    if found.is_in_keep or "the mask has shape" in message or "PrunableLayer.keep()" in message:
        return Rule.KEEP
    if status is Status.BAD_OUTPUT and ".weight" in message:
        return Rule.SHAPES if cause is Cause.SHAPE else Rule.WEIGHT
    if status is Status.NON_FINITE:
        return Rule.FINITE if "holds values" in message else None
    if cause is Cause.READ_ONLY and "'PrunableLayer'" in message:
        return Rule.WEIGHT
    if cause is Cause.WRONG_CALL and re.search(r"\b(?:PruningTask|PrunableLayer)\.", message):
        return Rule.ALL_IT_SEES
    if cause is Cause.NONE_VALUE and _PATTERN_NUMBERS.search(found.code or ""):
        return Rule.UNSTRUCTURED
    if cause is Cause.NONE_VALUE and _BIAS.search(found.code or ""):
        return Rule.BIAS
    if cause is Cause.MISSING_MODULE:
        return None if _module(message).partition(".")[0] in _LIBRARIES else Rule.LIBRARIES
    return _rule_of_zeros(found, cause)


def _rule_of_zeros(found: _Evidence, cause: Cause) -> Rule | None:
    if cause is Cause.PATTERN and " keeps " in found.message:
        return Rule.PATTERN
    if cause is Cause.PATTERN or (cause is Cause.TOO_FEW_ZEROS and _STRUCTURE.search(found.message)):
        return Rule.STRUCTURE
    if cause is Cause.TOO_FEW_ZEROS:
        return Rule.SUM if _ALL.search(found.message) else Rule.BY_LAYER
    return None


_LIBRARIES = {"torch", "numpy", "", *sys.stdlib_module_names}
_LAYER = re.compile(r"^(\S{1,300}) has (\d{1,18}) zeros of (\d{1,18}), but needs (\d{1,18})")
_ALL = re.compile(r"^(\d{1,18}) weights of (\d{1,18}) are zero, but (\d{1,18}) must be")
_STRUCTURE = re.compile(r" (?:rows|columns|heads) of zeros\b")
_KEPT = re.compile(r"^(\S{1,300}) keeps (\d{1,18}) of (\d{1,18}) weights, where (\d{1,18}) may be")


def _module(message: str) -> str:
    """What an import asked for; empty where the words do not say."""
    named = re.search(r"No module named '([\w.]{1,100})'", message)
    return named[1] if named else ""


def _sentence(found: _Evidence, cause: Cause) -> str:
    """The meaning of the cause with what was measured, or with what the exception said."""
    message = found.message
    if found.status is Status.SPARSITY_MISSED:
        return _of_zeros(found, cause)
    if kept := _KEPT.match(message):
        return f"{kept[1]} keeps {kept[2]} weights in a group of {kept[3]}, where {kept[4]} may be non-zero."
    if cause is Cause.MISSING_MODULE and (name := _module(message)):
        return f"It imports {name}, which the sandbox does not have."
    if attribute := re.match(r"'(PruningTask|PrunableLayer|Sparsity)' object has no attribute '(\w{1,100})'", message):
        what = {"PruningTask": "task", "PrunableLayer": "layer", "Sparsity": "task.sparsity"}[attribute[1]]
        return f"It uses {what}.{attribute[2]}, which the interface does not have."
    said = f"{found.type}: {message}" if found.type and found.type != found.status else message
    if cause in (Cause.OTHER, Cause.NO_CODE, Cause.CUT_OFF, Cause.UNREADABLE) and said:
        return f"{said[0].upper()}{said[1:]}"
    return f"{cause.meaning.rstrip('.')}: {said}" if said else cause.meaning


def _of_zeros(found: _Evidence, cause: Cause) -> str:
    """By how many zeros it missed, and where."""
    message, achieved = found.message, found.score.achieved_sparsity
    asked = f"asked for is {found.score.sparsity}"
    overall = f"; of all weights {achieved:.2%} are zero, {asked}." if achieved is not None else f"; {asked}."
    if cause is Cause.NOTHING_PRUNED:
        return f"It ended well, and not one weight is exactly zero; {asked}."
    if layer := _LAYER.match(message):
        zeros, least = int(layer[2]), int(layer[4])
        enough = " There are enough in all, but not in each layer." if cause is Cause.UNEVEN_BUDGET else ""
        return f"{layer[1]} has {zeros} zeros and needs {least}, {least - zeros} more{overall}{enough}"
    if both := _ALL.match(message):
        zeros, least = int(both[1]), int(both[3])
        return f"{zeros} weights of {both[2]} are zero and {least} must be, {least - zeros} more{overall}"
    return message.partition(";")[0] + overall


def _source_line(source: bytes, line: int | None) -> str | None:
    lines = source.splitlines() if line else []
    return lines[line - 1].decode(errors="replace") if line and 0 < line <= len(lines) else None
