"""A finished study without a model, for tests: the real pruners and their real code, scores of the fake bench."""

from __future__ import annotations

from pathlib import Path

from harness import console
from harness.store import Store
from harness.study import parse
from harness.study_run import run
from harness.testing.fake_bench import FakeLab

TEXT = """\
name = "tiny"
targets = ["testbed-llama", "testbed-opt"]
sparsities = [0.25, 0.5, "2:4", "rows:0.5"]
pruners = ["magnitude", "sample/l1-norm-pruning/01", "sample/dynamic-pruning-with-reinforcement-learning/01"]
"""
"""One pruner by a person, one by a model, and one attempt that has no code."""


def fake_study(folder: Path, text: str = TEXT, lab: FakeLab | None = None) -> Path:
    """Run the study of `text` into `folder/results.sqlite`, and return that file; pruners are looked for as ever."""
    path = folder / "results.sqlite"
    quiet = console._quiet
    console.set_quiet(True)
    with Store(path) as store:
        run(parse(text, "a test"), store, (lab or FakeLab()).open_bench)
    console.set_quiet(quiet)
    return path
