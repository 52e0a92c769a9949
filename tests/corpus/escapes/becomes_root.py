"""Asks to be another user, for capabilities, for privileges on exec, and for a program that has them."""
import ctypes
import os

PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, PR_SET_SECUREBITS = 47, 2, 28


def prune(task):
    libc = ctypes.CDLL(None, use_errno=True)
    worked = []
    for name, call in {
        "setuid": lambda: os.setuid(0),
        "setresuid": lambda: os.setresuid(0, 0, 0),
        "setgid": lambda: os.setgid(0),
        "setgroups": lambda: os.setgroups([0]),
        "mknod": lambda: os.mknod("/tmp/disk", 0o60666, os.makedev(8, 0)),
        "chown": lambda: os.chown("/out/weights", 0, 0),
    }.items():
        try:
            call()
            worked.append(name)
        except OSError:
            pass
    for number in range(41):
        if libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0) == 0:
            worked.append(f"capability {number}")
    if libc.prctl(PR_SET_SECUREBITS, 0, 0, 0, 0) == 0:
        worked.append("securebits")
    with open("/tmp/program", "w") as program:
        program.write("#!/bin/sh\nid\n")
    try:
        os.chmod("/tmp/program", 0o6755)
        worked.append("setuid bit")
    except OSError:
        pass
    raise RuntimeError(f"worked: {worked}" if worked else "nothing worked")
