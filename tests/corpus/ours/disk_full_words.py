"""Raises the error of a full disk without one."""


def prune(task):
    raise OSError(28, "No space left on device", "/job/model")
