"""Types into the terminal of whoever started it."""
import fcntl
import os
import termios


def prune(task):
    worked = []
    for name in ("/dev/tty", "/dev/console", "/dev/tty0", "/dev/pts/0", "/dev/ptmx", *(f"/proc/self/fd/{n}" for n in range(10))):
        try:
            descriptor = os.open(name, os.O_RDWR)
        except OSError:
            continue
        for byte in b"echo typed\n":
            try:
                fcntl.ioctl(descriptor, termios.TIOCSTI, bytes([byte]))
                worked.append(name)
            except OSError:
                pass
        os.close(descriptor)
    raise RuntimeError(f"worked: {worked}" if worked else "nothing worked")
