"""Ends as a command does that cannot be run."""
import os


def prune(task):
    os._exit(126)
