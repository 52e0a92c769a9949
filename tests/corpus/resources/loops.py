"""Runs for ever, and ignores the signals that ask it to stop."""
import signal

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)


def prune(task):
    while True:
        pass
