"""Recursion through C without the interpreter's own limit: the stack runs over."""
import sys

sys.setrecursionlimit(10**9)


class Deep:
    def __repr__(self):
        return repr([self])


def prune(task):
    repr(Deep())
