"""Puts a link, soft or hard, in the place of the output: a reader that follows it reads the host's file."""
import os


def prune(task):
    worked = []
    open("/tmp/own", "w").close()
    for name, call in {
        "unlink": lambda: os.unlink("/out/weights"),
        "symlink": lambda: os.symlink("/etc/passwd", "/out/weights"),
        "rename": lambda: os.rename("/out/weights", "/tmp/moved"),
        "replace": lambda: os.replace("/tmp/own", "/out/weights"),
        "link": lambda: os.link("/out/weights", "/tmp/linked"),
        "link of an input": lambda: os.link("/job/job.json", "/tmp/input"),
        "swap": lambda: os.rename("/out/report.json", "/out/weights"),
        "folder": lambda: os.rename("/out", "/tmp/out"),
    }.items():
        try:
            call()
            worked.append(name)
        except OSError:
            pass
    raise RuntimeError(f"worked: {worked}" if worked else "nothing worked")
