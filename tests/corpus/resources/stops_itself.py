"""Stops itself, so that it neither runs nor ends."""
import os
import signal


def prune(task):
    os.kill(os.getpid(), signal.SIGSTOP)
