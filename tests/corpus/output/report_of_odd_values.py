"""A report whose every field has another kind than it should, between words of a known status."""
import os


def prune(task):
    with open("/out/report.json", "wb") as report:
        report.write(b'{"kind": "RUNTIME_ERROR", "type": ["<b>"], "message": {"a": 1}, "line": -1e999, "traceback": NaN}')
    os._exit(10)
