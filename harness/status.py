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
    Status.OK: "It ran, everything asked for is zero, and the pruned model has a perplexity.",
    Status.NA: "It says itself that it cannot apply to this target.",
    Status.NO_CODE: "The answer holds no code that defines prune(task).",
    Status.TRUNCATED: "The answer was cut off at the model's limit of tokens before its code ended.",
    Status.REFUSED: "The model declined to answer.",
    Status.REJECTED_SOURCE: "The source is too large, or is not UTF-8.",
    Status.SYNTAX_ERROR: "The source is not valid Python.",
    Status.IMPORT_ERROR: "The source imports something that the sandbox does not have.",
    Status.INTERFACE_ERROR: "The source has no callable prune that takes a task.",
    Status.RUNTIME_ERROR: "An exception ended prune(task).",
    Status.TIMEOUT: "It was not done by the deadline.",
    Status.OUT_OF_MEMORY: "It wanted more memory than its limit.",
    Status.RESOURCE_LIMIT: "It wanted more processes or larger files than its limits.",
    Status.CRASHED: "A signal killed its process.",
    Status.EXITED: "Its process ended by itself, without a result.",
    Status.BAD_OUTPUT: "What came out has not the structure or the shape of the model's weights.",
    Status.NON_FINITE: "Weights, or the perplexity of the pruned model, are infinite or not a number.",
    Status.SPARSITY_MISSED: "Fewer weights are exactly zero than were asked for.",
    Status.PATTERN_VIOLATED: "Enough weights may be zero, but not where the pattern or structure wants them.",
}
