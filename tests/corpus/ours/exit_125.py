"""Ends as a container does that the engine could not start."""
import os


def prune(task):
    os._exit(125)
