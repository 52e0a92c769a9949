"""Looks names up, which would carry a message to whoever owns the domain."""
import socket


def prune(task):
    reached = []
    for name in ("example.org", "secret.example.org", "localhost.example.org"):
        try:
            reached.append(socket.getaddrinfo(name, 443))
        except OSError:
            pass
    raise RuntimeError(f"reached: {reached}" if reached else "nothing was reached")
