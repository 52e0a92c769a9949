"""Functions in functions, a hundred thousand deep, which exhaust what walks the tree."""
x = @@0


def prune(task):
    pass
