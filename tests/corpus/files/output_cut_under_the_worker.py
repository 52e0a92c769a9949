"""Cuts off the output that the worker has mapped into its memory, and lets it write there."""
import os


def prune(task):
    os.truncate("/out/weights", 0)
