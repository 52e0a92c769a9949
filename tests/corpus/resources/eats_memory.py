"""Takes memory and touches it, until there is none."""


def prune(task):
    held = []
    while True:
        held.append(bytearray(b"x") * (32 << 20))
