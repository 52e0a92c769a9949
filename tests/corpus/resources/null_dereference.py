"""Reads at address 0."""
import ctypes


def prune(task):
    ctypes.string_at(0)
