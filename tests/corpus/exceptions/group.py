"""Exceptions in groups in groups, far deeper than the stack."""


def prune(task):
    error = ValueError("innermost")
    for _ in range(100_000):
        error = ExceptionGroup("a group", [error])
    raise error
