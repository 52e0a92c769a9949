"""Makes a file larger than any file may be."""
import os


def prune(task):
    with open("/tmp/large", "wb") as file:
        os.truncate(file.fileno(), 10 << 40)
