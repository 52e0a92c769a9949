"""Prints and raises what a client says when there is no engine."""
import sys

WORDS = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"


def prune(task):
    print(WORDS, file=sys.stderr)
    raise ConnectionError(WORDS)
