"""An exception whose class has a name of a megabyte, and whose metaclass raises when asked for it."""


class Meta(type):
    @property
    def __name__(cls):
        raise KeyError("no name")

    def __instancecheck__(cls, _):
        raise KeyError("no instance")


Odd = Meta("N" * (1 << 20), (BaseException,), {"__module__": property(lambda self: 1 / 0)})


def prune(task):
    raise Odd("\ud800 half a pair")
