"""Makes a hundred thousand empty files, more than the container's /tmp has room for."""
import os


def prune(task):
    for number in range(100_000):
        os.close(os.open(f"/tmp/{number}", os.O_CREAT | os.O_WRONLY))
