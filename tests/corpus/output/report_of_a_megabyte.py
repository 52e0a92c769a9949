"""A report of a megabyte, or what a file may have of it, with duplicate keys and a number without end."""
import os


def prune(task):
    with open("/out/report.json", "w") as report:
        try:
            report.write('{"kind": "NA", "kind": "OK", "line": ' + "9" * 1_000_000 + "}")
        except OSError:
            pass
    os._exit(10)
