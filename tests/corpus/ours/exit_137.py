"""Ends with the code of a process that was killed, as at a memory limit."""
import os


def prune(task):
    os._exit(137)
