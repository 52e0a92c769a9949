"""Starts sleeping threads until one more is refused."""
import threading
import time


def prune(task):
    while True:
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
