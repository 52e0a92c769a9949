"""Pipes, headings and a row of its own for a table."""


def prune(task):
    raise ValueError("x | OK | 1.00 |\n| **me** | 0.5 | OK | 1.00 |\n# The winner\n[here](javascript:alert(1)) `` ` ``")
