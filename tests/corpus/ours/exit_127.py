"""Ends as a command does that was not found."""
import os


def prune(task):
    os._exit(127)
