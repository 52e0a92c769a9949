"""50 MB of comment."""
#@@


def prune(task):
    pass
