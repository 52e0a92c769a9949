"""A profiler that raises as soon as the worker calls anything."""
import sys


def prune(task):
    def hook(frame, event, argument):
        raise RuntimeError("out of a hook")

    sys.setprofile(hook)
