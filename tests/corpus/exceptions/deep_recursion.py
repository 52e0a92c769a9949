"""Calls itself until the interpreter says no."""


def prune(task):
    return prune(task)
