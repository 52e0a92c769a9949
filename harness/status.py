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
    """The weights are what was asked for, and the pruned model has a perplexity."""
    NA = "NA"
    """The pruner raised `NotApplicable`: it does not apply to this model or sparsity."""
    # from the completion
    NO_CODE = "NO_CODE"
    """The answer is empty, or holds no Python code."""
    TRUNCATED = "TRUNCATED"
    """The answer hit its token limit before its code was complete."""
    REFUSED = "REFUSED"
    """The model declined to write the program, or its endpoint's content filter ended the answer."""
    # from the source
    REJECTED_SOURCE = "REJECTED_SOURCE"
    """The answer or its code is too large, or not UTF-8."""
    SYNTAX_ERROR = "SYNTAX_ERROR"
    """The file is no Python."""
    IMPORT_ERROR = "IMPORT_ERROR"
    """The file imports what is not there."""
    INTERFACE_ERROR = "INTERFACE_ERROR"
    """The file defines no function `prune` that takes the task as its one argument."""
    # from the run
    RUNTIME_ERROR = "RUNTIME_ERROR"
    """The file or `prune` raised any other exception."""
    TIMEOUT = "TIMEOUT"
    """Not done at the deadline."""
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    """Killed by the kernel at the memory limit."""
    RESOURCE_LIMIT = "RESOURCE_LIMIT"
    """Met another limit of the sandbox, such as processes, disk or CPU time, or failed to get memory."""
    CRASHED = "CRASHED"
    """Killed by a signal."""
    EXITED = "EXITED"
    """Ended without a result, whatever its exit code."""
    # from the output
    BAD_OUTPUT = "BAD_OUTPUT"
    """The weights cannot be read as those of the model: a changed shape, a broken file."""
    NON_FINITE = "NON_FINITE"
    """A weight, or the pruned model's perplexity, is infinite or NaN."""
    SPARSITY_MISSED = "SPARSITY_MISSED"
    """Too few exact zeros; of structures, too few even if they were not scattered."""
    PATTERN_VIOLATED = "PATTERN_VIOLATED"
    """A group keeps more than n of m weights; or there are zeros enough for the structures, but scattered."""

    @property
    def outcome(self) -> Outcome:
        """OK, NA or Error."""
        return Outcome(self.value) if self in (Status.OK, Status.NA) else Outcome.ERROR

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
