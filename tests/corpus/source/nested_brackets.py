"""Brackets in brackets, half a million deep."""
x = @@


def prune(task):
    pass
