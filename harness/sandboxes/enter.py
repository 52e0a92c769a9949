"""Run by root, as a file, before bubblewrap: shows it what only root can reach, and gives up root.

bubblewrap must not be started by root, whose ownership of /proc/sys would reach inside. But the interpreter, the
environment and a job's files may stand in folders that only root can enter. So in a mount namespace of its own,
this program binds them below /tmp, becomes the unprivileged user and turns into bubblewrap. It reads from standard
input a JSON object: `sources` (name below /tmp -> path of the host), `uid`, and `command`.
"""

import ctypes
import json
import os
import stat
import sys

_CLONE_NEWNS, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x20000, 0x1000, 0x4000, 0x40000
STAGE = "/tmp"  # noqa: S108 - a fresh tmpfs, seen by nobody else

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    result = _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _check(result, f"cannot mount {source} on {target}")


def _main() -> None:
    plan = json.load(sys.stdin)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    _check(_libc.unshare(_CLONE_NEWNS), "cannot make a mount namespace")
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    sources = {name: os.open(path, os.O_PATH) for name, path in plan["sources"].items()}  # some may stand below /tmp
    _mount("tmpfs", STAGE, "tmpfs", 0, "mode=0755,size=1m")
    for name, descriptor in sources.items():
        target = f"{STAGE}/{name}"
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.mkdir(target)  # noqa: PTH102 - pathlib is not loaded, for a fast start
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
        _mount(f"/proc/self/fd/{descriptor}", target, "", _MS_BIND)
        os.close(descriptor)
    os.setgroups([])
    os.setresgid(plan["uid"], plan["uid"], plan["uid"])
    os.setresuid(plan["uid"], plan["uid"], plan["uid"])
    os.execv(plan["command"][0], plan["command"])  # noqa: S606


if __name__ == "__main__":
    _main()
