"""Leaves shared memory, a queue and a semaphore for the next run, and fails where it finds one."""
import ctypes

KEY, CREATE = 0x636F7270, 0o1666


def prune(task):
    libc = ctypes.CDLL(None, use_errno=True)
    found = [libc.shmget(KEY, 4096, 0), libc.semget(KEY, 1, 0), libc.msgget(KEY, 0)]
    if any(identifier != -1 for identifier in found):
        raise RuntimeError(f"an earlier run left {found}")
    libc.shmget(KEY, 4096, CREATE), libc.semget(KEY, 1, CREATE), libc.msgget(KEY, CREATE)
    for layer in task.layers():
        layer.keep(layer.weight.abs().argsort(1).argsort(1) >= layer.weight.shape[1] // 2)
