"""Opens files until one more is refused, and lets the error out with all of them open."""
opened = []


def prune(task):
    while True:
        opened.append(open("/dev/null"))
