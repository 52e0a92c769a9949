"""ShinkaEvolve: the program that it starts for each candidate. It needs nothing of the package shinka-evolve.

The package's own `run_shinka_eval` imports the candidate into the evaluating process, and is not used here: this writes
the two files that ShinkaEvolve reads, `correct.json` and `metrics.json`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import evaluator


def main(arguments: Sequence[str] | None = None, **options: Any) -> None:
    """Evaluate `--program_path` and write the result into `--results_dir`, as ShinkaEvolve calls it.

    Args:
        arguments: those of the command line, unless given.
        options: of `harness.evaluator.evaluate`.

    Raises:
        UsageError, Fault: as `harness.evaluator.evaluate`; nothing is written, which is a failed job to ShinkaEvolve.
    """
    parser = argparse.ArgumentParser(description="Score one pruner for ShinkaEvolve.")
    parser.add_argument("--program_path", required=True)
    parser.add_argument("--results_dir", required=True, type=Path)
    asked = parser.parse_args(arguments)
    write(evaluator.evaluate(asked.program_path, **options), asked.results_dir)


def write(found: evaluator.Evaluation, folder: Path) -> None:
    """`correct.json` and `metrics.json`; what the artifacts say goes to the next prompt as `text_feedback`."""
    texts = [f"{name}: {text}" for name, text in found["artifacts"].items()]
    metrics = {
        "combined_score": found["combined_score"],
        "public": found["metrics"],
        "private": {},
        "text_feedback": "\n".join(texts),
    }
    correct = {"correct": found["correct"], "error": None if found["correct"] else "\n".join(texts)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in (("correct.json", correct), ("metrics.json", metrics)):
        (folder / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
