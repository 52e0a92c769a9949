"""A report that names a status which only the host may see."""
import json
import os


def prune(task):
    with open("/out/report.json", "w") as report:
        json.dump({"kind": "TIMEOUT", "type": "TIMEOUT", "message": "not done after 900 s"}, report)
    os._exit(10)
