# coding: klingon, an encoding that nobody has.


def prune(task):
    pass
