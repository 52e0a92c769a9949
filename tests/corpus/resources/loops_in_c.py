"""Never comes back from C, and never lets go of the interpreter's lock."""
import itertools


def prune(task):
    sum(itertools.repeat(0))
