"""Dies as a process does that the kernel kills for its memory."""
import os
import signal


def prune(task):
    os.kill(os.getpid(), signal.SIGKILL)
