"""An output of one byte more than was made room for."""
import os


def prune(task):
    with open("/out/weights", "r+b") as output:
        output.seek(0, os.SEEK_END)
        output.write(b"x")
        output.flush()
