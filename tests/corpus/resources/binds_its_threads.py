"""Crowds its threads on one processor, so that they wait for each other and look hindered by others."""

import os
import threading


def spin():
    while True:
        pass


def prune(task):
    for change in (lambda: os.sched_setaffinity(0, {0}), lambda: os.nice(19)):
        try:
            change()
        except OSError:
            pass
    for _ in range(6):
        threading.Thread(target=spin, daemon=True).start()
    spin()
