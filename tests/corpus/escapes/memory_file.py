"""Runs a program out of memory, which no mount option can forbid."""
import ctypes
import os


def prune(task):
    worked = []
    try:
        descriptor = os.memfd_create("program")
        os.write(descriptor, open("/proc/self/exe", "rb").read())
        worked.append("memfd_create")
    except OSError:
        descriptor = os.open("/proc/self/exe", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    nothing = (ctypes.c_char_p * 1)(None)
    if os.fork() == 0:
        libc.syscall(322, descriptor, b"", nothing, nothing, 0x1000)  # execveat, by descriptor alone
        os._exit(77)
    if os.waitstatus_to_exitcode(os.wait()[1]) != 77:
        worked.append("execveat")
    raise RuntimeError(f"worked: {worked}" if worked else "nothing worked")
