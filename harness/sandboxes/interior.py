"""What both levels of isolation show the program inside, and how they name its end."""

from __future__ import annotations

import importlib.metadata
import math
import secrets
import stat
import sys
from typing import TYPE_CHECKING

from harness.errors import SandboxFault

if TYPE_CHECKING:
    from harness.records import Limits, Mount

COMMAND = ("-P", "-m", "sandbox.worker", "/job/job.json")
"""Arguments of the interpreter inside."""

TMP_BYTES = 256 << 20
"""Size of /tmp, the only folder where the program can make files. They count against its memory."""

TMP_FILES = 16384
OPEN_FILES = 256
LOCKED_BYTES = 64 << 10

LIBRARIES = ("torch", "transformers", "numpy", "safetensors")
"""What the sandbox package and the pruners import."""


_FIRST_UID, _UIDS = 20_000, 40_000  # below 65536, which is all that rootless engines map


def next_uid() -> int:
    """An unprivileged numeric user for one run, drawn at random: two runs at a time hardly ever share one."""
    return _FIRST_UID + secrets.randbelow(_UIDS)


_FIRST_PROCESS = """
import ctypes, os, resource, select, signal, sys, time
alive, started, life, linger = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
limits, command = sys.argv[5], sys.argv[6:]
until = time.monotonic() + life
try:
    with open('/proc/self/oom_score_adj', 'w') as file:
        file.write('1000')
except OSError:
    pass
PR_SET_DUMPABLE = 4
ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
null = os.open('/dev/null', os.O_RDWR)
for descriptor in (0, 1, 2):
    os.dup2(null, descriptor)
woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
signal.signal(signal.SIGCHLD, lambda *_: None)
signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
if started >= 0:
    os.set_inheritable(alive, False)
    if select.select([alive], [], [], 0)[0]:
        os._exit(1)
    os.write(started, b'1')
    os.close(started)
child = os.fork()
if child == 0:
    for pair in filter(None, limits.split(',')):
        name, value = pair.split('=')
        which = getattr(resource, 'RLIMIT_' + name)
        hard = resource.getrlimit(which)[1]
        limit = int(value) if hard == resource.RLIM_INFINITY else min(int(value), hard)
        resource.setrlimit(which, (limit, limit))
    os.closerange(3, 1 << 16)
    os.execv(command[0], command)
while True:
    try:
        if os.stat('/job/go').st_size == 0:
            until = time.monotonic() + life
    except OSError:
        pass
    left = until - time.monotonic()
    ready = select.select([woken] if alive < 0 else [woken, alive], [], [], max(min(left, 5), 0))[0]
    if alive in ready or left <= 0:
        os._exit(1)
    if woken in ready:
        os.read(woken, 1 << 12)
    ended = -1
    while ended and ended != child:
        ended, status = os.waitpid(-1, os.WNOHANG)
    if ended:
        code = os.waitstatus_to_exitcode(status)
        if linger:
            try:
                os.kill(-1, signal.SIGKILL)
            except OSError:
                pass
            time.sleep(linger)
        os._exit(code if code >= 0 else 128 - code)
"""


LINGER_SECONDS = 0.03
"""How long a container stays after its program has ended, so that its last counts can be read."""

_FOR_EVER = 1e9


def first_process(
    python: str,
    arguments: list[str],
    descriptors: tuple[int, int] = (-1, -1),
    rlimits: dict[str, int] | None = None,
    life_seconds: float = _FOR_EVER,
    linger_seconds: float = 0.0,
) -> list[str]:
    """The command of the first process inside, which starts the program, reaps what that leaves, and ends with it.

    It is our own at both levels. An engine's keeps the pipes to its daemon open, and the program, as the same
    user, could open them through /proc and flood the daemon. bubblewrap's ends without being waited for, and with
    it go the count of CPU seconds and the certainty that nothing runs on. This one cannot be read or written
    through /proc, and it ends all when the harness dies; bubblewrap's own option for that leaves a process behind
    if it comes while the namespaces are set up.

    Args:
        python: the interpreter inside.
        arguments: of the program.
        descriptors: two inherited pipes: one whose other end is closed when the harness gives up or has died,
            and one that gets a byte when all is set up.
        rlimits: name without RLIMIT_ -> value; set only inside, where a user's processes count from zero.
        life_seconds: after which, from the job on, it ends all, should nobody outside do so.
        linger_seconds: for which it stays, alone, when the program has ended.
    """
    limits = ",".join(f"{name}={value}" for name, value in (rlimits or {}).items())
    numbers = map(str, (*descriptors, life_seconds, linger_seconds))
    return [python, "-I", "-S", "-c", _FIRST_PROCESS, *numbers, limits, python, *arguments]


def library_versions() -> dict[str, str]:
    """The versions of `LIBRARIES` here, without local parts: torch 2.13.0+cpu is 2.13.0.

    Raises:
        SandboxFault: one of them is not installed.
    """
    try:
        return {name: importlib.metadata.version(name).partition("+")[0] for name in LIBRARIES}
    except importlib.metadata.PackageNotFoundError as error:
        raise SandboxFault(f"{error.name} is not installed beside the harness: pip install {error.name}") from error


def python_version() -> str:
    """Major and minor version of the interpreter here, such as 3.11; inside it must be the same."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def environment(limits: Limits, python_path: str) -> dict[str, str]:
    """The whole environment of the program inside; nothing of the host's passes.

    OpenMP threads that wait must not spin: beside another job on the same cores they would take so much of the
    time that wall deadlines blame innocent programs.
    """
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",  # noqa: S108 - inside the sandbox
        "TMPDIR": "/tmp",  # noqa: S108
        "USER": "pruner",
        "LOGNAME": "pruner",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONPATH": python_path,
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "OMP_WAIT_POLICY": "passive",
        "GOMP_SPINCOUNT": "0",
        "OMP_NUM_THREADS": str(limits.threads),
        "MKL_NUM_THREADS": str(limits.threads),
        "OPENBLAS_NUM_THREADS": str(limits.threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }


def cpu_seconds_limit(limits: Limits) -> int:
    """CPU seconds of one process: what its threads can use until the deadline, and a little more."""
    return math.ceil(limits.timeout_seconds * limits.threads) + 5


def check_mounts(mounts: list[Mount], other_user: bool) -> None:
    """Refuse mounts that cannot work inside, before anything is started.

    Args:
        mounts: as `Sandbox.execute` takes them.
        other_user: the program inside is another user of the host than the harness is.

    Raises:
        SandboxFault: a source is missing, unreadable for the user inside or of the wrong kind, or a target
            stands outside /job and /out.
    """
    for mount in mounts:
        if not mount.target.startswith(("/job/", "/out/")) or ".." in mount.target.split("/"):
            raise SandboxFault(f"mount target {mount.target!r} stands outside /job and /out")
        try:
            mode = mount.source.stat().st_mode
        except OSError as error:
            raise SandboxFault(f"cannot show {mount.source} in the sandbox: {error.strerror}") from error
        if not stat.S_ISREG(mode) and (mount.writable or not stat.S_ISDIR(mode)):
            raise SandboxFault(f"cannot show {mount.source} in the sandbox: it is no regular file")
        needed = stat.S_IROTH | (stat.S_IWOTH if mount.writable else 0) | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
        if other_user and mode & needed != needed:
            rights = "".join(letter for letter, bit in (("r", 4), ("w", 2), ("x", 1)) if needed & bit)
            raise SandboxFault(f"the sandbox's user may not use {mount.source}: chmod o+{rights} it")


def exit_or_signal(code: int) -> tuple[int | None, int | None]:
    """Exit code and signal of the program, out of what a first process of a namespace reports for it.

    That process (`first_process`) ends with 128+n where the program died by signal n. A program that exits with
    such a code itself looks the same, which only changes the name of its own failure.
    """
    if 128 < code <= 128 + 64:
        return None, code - 128
    return code, None
