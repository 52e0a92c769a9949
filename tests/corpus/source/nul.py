"""A NUL in the middle."""
x = "@@"


def prune(task):
    pass
