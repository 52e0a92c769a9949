"""A chain of a hundred thousand causes."""


def prune(task):
    error = ValueError("the last of many")
    for number in range(100_000):
        cause, error = error, ValueError(f"caused by {number}")
        error.__cause__ = cause
    raise error
