"""A million minuses, which exhaust the parser."""
x = @@1


def prune(task):
    pass
