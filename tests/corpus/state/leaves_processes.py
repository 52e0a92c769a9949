"""Leaves a process that listens for the next run, and fails where one answers."""
import os
import socket
import time


def prune(task):
    with socket.socket(socket.AF_UNIX) as talk:
        try:
            talk.connect("\0corpus-left-behind")
        except OSError:
            pass
        else:
            raise RuntimeError("a process of an earlier run answers")
    others = [name for name in os.listdir("/proc") if name.isdigit() and int(name) not in (1, os.getpid(), os.getppid())]
    if others:
        raise RuntimeError(f"there are other processes: {others}")
    ready, wake = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind("\0corpus-left-behind")
                listener.listen()
                os.write(wake, b"x")
                time.sleep(10**6)
        os._exit(0)
    os.read(ready, 1)
    for layer in task.layers():
        layer.keep(layer.weight.abs().argsort(1).argsort(1) >= layer.weight.shape[1] // 2)
