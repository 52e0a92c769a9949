"""A sum of 400 000 terms: a tree as deep, which exhausts the compiler and not the parser."""
x = 1@@


def prune(task):
    pass
