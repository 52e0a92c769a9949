"""Puts a pipe, a socket or a device where the output is, so that its reader would wait for ever."""
import os
import socket
import stat


def prune(task):
    worked = []
    for name, call in {
        "fifo": lambda: os.mkfifo("/out/fifo"),
        "fifo instead": lambda: os.mkfifo("/out/weights"),
        "socket": lambda: socket.socket(socket.AF_UNIX).bind("/out/socket"),
        "device": lambda: os.mknod("/out/zero", stat.S_IFCHR | 0o666, os.makedev(1, 5)),
        "folder": lambda: os.mkdir("/out/folder"),
    }.items():
        try:
            call()
            worked.append(name)
        except OSError:
            pass
    raise RuntimeError(f"worked: {worked}" if worked else "nothing worked")
