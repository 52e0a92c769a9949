"""The status of one pruner at one sparsity, and the word that the paper has for it."""

from enum import StrEnum


class Outcome(StrEnum):
    """The paper's words."""

    OK = "OK"
    ERROR = "Error"
    NA = "NA"


class Status(StrEnum):
    """How a pruner ended. Everything but `OK` and `NA` is an error, and stays in every denominator.

    Faults of the harness are no status of a pruner: see `harness.errors.Fault`.
    """

    OK = "OK"
    NA = "NA"
    # from the completion
    NO_CODE = "NO_CODE"
    TRUNCATED = "TRUNCATED"
    REFUSED = "REFUSED"
    # from the source
    REJECTED_SOURCE = "REJECTED_SOURCE"
    SYNTAX_ERROR = "SYNTAX_ERROR"
    IMPORT_ERROR = "IMPORT_ERROR"
    INTERFACE_ERROR = "INTERFACE_ERROR"
    # from the run
    RUNTIME_ERROR = "RUNTIME_ERROR"
    TIMEOUT = "TIMEOUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    RESOURCE_LIMIT = "RESOURCE_LIMIT"
    CRASHED = "CRASHED"
    EXITED = "EXITED"
    # from the output
    BAD_OUTPUT = "BAD_OUTPUT"
    NON_FINITE = "NON_FINITE"
    SPARSITY_MISSED = "SPARSITY_MISSED"
    PATTERN_VIOLATED = "PATTERN_VIOLATED"

    @property
    def outcome(self) -> Outcome:
        """OK, NA or Error."""
        return Outcome(self.value) if self in (Status.OK, Status.NA) else Outcome.ERROR

    @property
    def meaning(self) -> str:
        """What happened, in a sentence."""
        return _MEANINGS[self]

    @property
    def stage(self) -> str:
        """Where it was decided: completion, source, run or output."""
        return _STAGES[self]


_STAGES = {
    Status.OK: "output",
    Status.NA: "run",
    **dict.fromkeys((Status.NO_CODE, Status.TRUNCATED, Status.REFUSED), "completion"),
    **dict.fromkeys(
        (Status.REJECTED_SOURCE, Status.SYNTAX_ERROR, Status.IMPORT_ERROR, Status.INTERFACE_ERROR), "source"
    ),
    **dict.fromkeys(
        (
            Status.RUNTIME_ERROR,
            Status.TIMEOUT,
            Status.OUT_OF_MEMORY,
            Status.RESOURCE_LIMIT,
            Status.CRASHED,
            Status.EXITED,
        ),
        "run",
    ),
    **dict.fromkeys((Status.BAD_OUTPUT, Status.NON_FINITE, Status.SPARSITY_MISSED, Status.PATTERN_VIOLATED), "output"),
}

_MEANINGS = {
    Status.OK: "The weights are what was asked for, and the pruned model has a perplexity.",
    Status.NA: "The pruner raised NotApplicable: it does not apply to this model or sparsity.",
    Status.NO_CODE: "The answer is empty, or holds no Python code.",
    Status.TRUNCATED: "The answer hit its limit of tokens before its code was complete.",
    Status.REFUSED: "The model declined to write the program, or its endpoint's content filter ended the answer.",
    Status.REJECTED_SOURCE: "The answer or its code is too large, or not UTF-8.",
    Status.SYNTAX_ERROR: "The file is no Python.",
    Status.IMPORT_ERROR: "The file imports what is not there.",
    Status.INTERFACE_ERROR: "The file defines no function prune that takes the task as its one argument.",
    Status.RUNTIME_ERROR: "The file, or prune, raised any other exception.",
    Status.TIMEOUT: "It was not done at the deadline.",
    Status.OUT_OF_MEMORY: "The kernel killed it at the memory limit.",
    Status.RESOURCE_LIMIT: "It met another limit of the sandbox, such as processes or disk, or got no memory.",
    Status.CRASHED: "A signal killed it.",
    Status.EXITED: "It ended without a result, whatever its exit code.",
    Status.BAD_OUTPUT: "The weights cannot be read as those of the model: a changed shape, a broken file.",
    Status.NON_FINITE: "A weight, or the pruned model's perplexity, is infinite or not a number.",
    Status.SPARSITY_MISSED: "Too few exact zeros; of structures, too few even if they were not scattered.",
    Status.PATTERN_VIOLATED: "A group keeps more than n of m weights; or the structures' zeros are scattered.",
}
