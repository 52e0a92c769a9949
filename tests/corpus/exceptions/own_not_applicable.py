"""An exception of its own that is only called NotApplicable: no way out of the denominator."""


class NotApplicable(Exception):
    pass


def prune(task):
    raise NotApplicable("this model is too hard")
