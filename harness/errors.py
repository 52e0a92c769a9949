"""What the harness itself raises.

    HarnessError
    ├── UsageError        wrong usage; exit status 2
    └── Fault             the harness could not work; exit status 3, never a candidate's fault
        ├── SandboxFault      INFRA_SANDBOX     no engine, engine died, container could not start
        ├── ImageFault        INFRA_IMAGE       the sandbox image is missing, stale or cannot be built
        ├── StorageFault      INFRA_STORAGE     disk full, results file unusable
        ├── InputFault        INFRA_INPUT       a target, a text or a study cannot be read
        ├── ContentionFault   INFRA_CONTENTION  the machine gave a run too little of its time
        ├── CanaryFault       INFRA_CANARY      a pruner with a known answer came out otherwise
        ├── ScorerFault       INFRA_SCORER      scoring failed on weights that passed every check
        └── EndpointFault     INFRA_ENDPOINT    the model's endpoint refused, failed or cannot be reached

Every message is one line that says what is wrong and what to do. What a candidate does is no exception here
but a `harness.status.Status`.
"""

from typing import ClassVar


class HarnessError(Exception):
    """Anything that the harness reports about itself, in one line."""

    exit_status: ClassVar[int] = 3


class UsageError(HarnessError):
    """The command was called wrongly."""

    exit_status: ClassVar[int] = 2


class Fault(HarnessError):
    """The harness could not work. A run that met one is tried again on resume."""

    status: ClassVar[str] = "INFRA_SANDBOX"


class SandboxFault(Fault):
    """No engine, a dead engine, or a sandbox that could not start."""

    status: ClassVar[str] = "INFRA_SANDBOX"


class ImageFault(Fault):
    """The sandbox image is missing, older than the sandbox's files, or cannot be built."""

    status: ClassVar[str] = "INFRA_IMAGE"


class StorageFault(Fault):
    """The disk is full, or a file of results cannot be used."""

    status: ClassVar[str] = "INFRA_STORAGE"


class InputFault(Fault):
    """A target, a text or another input cannot be read."""

    status: ClassVar[str] = "INFRA_INPUT"


class ContentionFault(Fault):
    """The machine was too busy to judge the run."""

    status: ClassVar[str] = "INFRA_CONTENTION"


class CanaryFault(Fault):
    """A pruner with a known answer came out otherwise: nothing that was measured beside it is to be ranked."""

    status: ClassVar[str] = "INFRA_CANARY"


class ScorerFault(Fault):
    """Scoring failed on weights that had passed every check."""

    status: ClassVar[str] = "INFRA_SCORER"


class EndpointFault(Fault):
    """A model's endpoint refused the request, failed, or cannot be reached."""

    status: ClassVar[str] = "INFRA_ENDPOINT"

    def __init__(self, message: str, *, passing: bool = False, limited: bool = False) -> None:
        """`passing` where asking again may help, `limited` where the endpoint asked for fewer requests."""
        super().__init__(message)
        self.passing = passing
        self.limited = limited
