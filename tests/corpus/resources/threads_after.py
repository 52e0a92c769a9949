"""Leaves busy threads and an exit handler that would hold up the end."""
import atexit
import threading
import time


def go():
    while True:
        time.sleep(0.01)


def prune(task):
    for _ in range(10):
        threading.Thread(target=go).start()
    atexit.register(time.sleep, 1000)
