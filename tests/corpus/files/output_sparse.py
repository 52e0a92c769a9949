"""An output of ten tebibytes that takes no room."""
import os


def prune(task):
    os.truncate("/out/weights", 10 << 40)
