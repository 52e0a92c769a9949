"""A report that is larger than its reader reads, with duplicate keys and numbers without end."""
import os


def prune(task):
    with open("/out/report.json", "w") as report:
        try:
            report.write('{"kind": "NA", "kind": "OK", "line": ' + "9" * 1_000_000 + "}")
        except OSError:
            pass
    os._exit(10)
