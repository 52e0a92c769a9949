# expect: RUNTIME_ERROR
# Tries to tell the world: TCP, UDP, a name look-up, and the Docker socket.
import os
import socket


def prune(task):
    reached = []
    for family, kind in ((socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM)):
        try:
            with socket.socket(family, kind) as talk:
                talk.settimeout(2)
                talk.connect(("192.0.2.1", 53))
                talk.send(b"hello")
                reached.append(kind)
        except OSError:
            pass
    try:
        reached.append(socket.getaddrinfo("example.org", 443))
    except OSError:
        pass
    reached += [path for path in ("/var/run/docker.sock", "/run/docker.sock") if os.path.exists(path)]
    if not reached:
        raise ConnectionError("nothing was reached")
