"""An exception whose text has a gigabyte."""


class Long(Exception):
    def __str__(self):
        return "x" * (1 << 30)


def prune(task):
    raise Long
