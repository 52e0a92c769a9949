"""Tries to tell the world, by TCP and UDP, over IPv4 and IPv6, and on its own loopback."""
import socket


def prune(task):
    reached = []
    for family, kind, address in (
        (socket.AF_INET, socket.SOCK_STREAM, ("192.0.2.1", 53)),
        (socket.AF_INET, socket.SOCK_DGRAM, ("192.0.2.1", 53)),
        (socket.AF_INET6, socket.SOCK_STREAM, ("2001:db8::1", 53)),
        (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 22)),
        (socket.AF_INET, socket.SOCK_RAW, ("192.0.2.1", 0)),
    ):
        try:
            with socket.socket(family, kind) as talk:
                talk.settimeout(2)
                talk.connect(address)
                talk.send(b"hello")
                reached.append(address)
        except OSError:
            pass
    raise RuntimeError(f"reached: {reached}" if reached else "nothing was reached")
