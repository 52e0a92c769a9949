"""Pretends that somebody pressed a key."""


def prune(task):
    raise KeyboardInterrupt("^C")
