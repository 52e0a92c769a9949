"""A regular expression that backtracks for longer than the sun will shine."""
import re


def prune(task):
    re.match(r"(a+)+$", "a" * 64 + "b")
