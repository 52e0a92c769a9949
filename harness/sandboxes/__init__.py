"""The levels of isolation: a Docker container, and namespaces alone where no engine answers."""

from __future__ import annotations

from harness import console
from harness.errors import SandboxFault, UsageError
from harness.records import Sandbox

NAMES = ("auto", "docker", "bubblewrap")


def open_sandbox(name: str, runtime: str | None = None) -> Sandbox:
    """The level of isolation called `name`, ready to run.

    `auto` is docker where an engine answers, also when its image is missing: that is a fault, and no reason for a
    weaker level. Where none answers, it is bubblewrap, and a notice says what that lacks.

    Raises:
        UsageError: no such level, or a runtime for a level that has none.
        SandboxFault: the level cannot work here, or does not keep what it promises.
        ImageFault: docker can, but its image is missing or outdated.
    """
    from harness.sandboxes.bubblewrap import BubblewrapSandbox, check  # noqa: PLC0415 - only what is used is loaded
    from harness.sandboxes.docker import DockerSandbox, keeps_promises  # noqa: PLC0415
    from harness.sandboxes.engine import answers  # noqa: PLC0415

    if name not in NAMES:
        raise UsageError(f"--sandbox {name!r}: one of {', '.join(NAMES)}")
    if runtime and name == "bubblewrap":
        raise UsageError("--runtime belongs to --sandbox docker")
    if name == "docker" or runtime or (name == "auto" and answers()):
        docker = DockerSandbox(runtime)
        docker.check_image()
        keeps_promises(runtime)
        return docker
    bubblewrap = BubblewrapSandbox()
    if name == "bubblewrap":
        check()
        return bubblewrap
    try:
        check()
    except SandboxFault as fault:
        raise SandboxFault(f"no Docker engine answers: start it or set DOCKER_HOST; without it, {fault}") from fault
    console.notice(f"No Docker engine answers: isolation is bubblewrap. It has {BubblewrapSandbox.lacks}.")
    return bubblewrap
