"""Formulas, which a spreadsheet would run."""


def prune(task):
    raise ValueError("=cmd|' /C calc'!A0\n+1+1\n-2+3\n@SUM(1)\n\t=1")
