"""The system call profile of the sandbox, for the engine as text and for bubblewrap as a compiled filter."""

from __future__ import annotations

import json
import tempfile
from typing import IO, Any

from harness.errors import SandboxFault
from harness.resources import sandbox_package

_UNKNOWN = -1


def profile(device: str = "cpu") -> str:
    """The JSON text of sandbox/seccomp.json, without its comment; with a GPU, whose driver takes any, every ioctl.

    Raises:
        SandboxFault: the file cannot be read.
    """
    try:
        rules = json.loads((sandbox_package() / "seccomp.json").read_text())
    except (OSError, ValueError) as error:
        raise SandboxFault(f"sandbox/seccomp.json cannot be read ({error}): install the harness again") from error
    del rules["comment"]
    if device != "cpu":
        rules["syscalls"].append({"names": ["ioctl"], "action": "SCMP_ACT_ALLOW"})
    return json.dumps(rules)


def compiled() -> IO[bytes]:
    """The same profile as a BPF program for this machine, in an unnamed file at its start.

    System calls that this machine's libseccomp does not know are not allowed.

    Raises:
        SandboxFault: libseccomp is missing, or refuses the profile.
    """
    try:
        import pyseccomp  # noqa: PLC0415 - fails where libseccomp is missing
    except (ImportError, OSError, RuntimeError) as error:
        raise SandboxFault(
            "libseccomp cannot be loaded: install it (Debian, Ubuntu: apt-get install libseccomp2) or use docker"
        ) from error
    rules: dict[str, Any] = json.loads(profile())
    comparisons = {"SCMP_CMP_EQ": pyseccomp.EQ, "SCMP_CMP_MASKED_EQ": pyseccomp.MASKED_EQ}
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's
    try:
        program = pyseccomp.SyscallFilter(_action(pyseccomp, rules["defaultAction"]))
        for rule in rules["syscalls"]:
            action = _action(pyseccomp, rule["action"], rule.get("errnoRet"))
            arguments = [
                pyseccomp.Arg(a["index"], comparisons[a["op"]], a["value"], a.get("valueTwo", 0))
                for a in rule.get("args", ())
            ]
            for name in rule["names"]:
                if pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) != _UNKNOWN:
                    program.add_rule(action, name, *arguments)
        program.export_bpf(file)
    except OSError as error:
        file.close()
        raise SandboxFault(f"libseccomp refuses the system call profile: {error.strerror}") from error
    file.seek(0)
    return file


def _action(pyseccomp: Any, name: str, errno: int | None = None) -> int:
    if name == "SCMP_ACT_ALLOW":
        return int(pyseccomp.ALLOW)
    return int(pyseccomp.ERRNO(1 if errno is None else errno))
