"""Make `generated/sample` from the answers in `generated/sample/completions`, through the real stages.

    python tools/make_samples.py

Each answer was written for this repository, and its manifest says so. What is there already is replaced.
"""

import shutil
from pathlib import Path

from harness.archive import archive
from harness.records import Completion
from harness.stages.candidate import extract
from harness.stages.idea import ideas
from harness.stages.prompt import render

GENERATED = Path(__file__).resolve().parent.parent / "generated"
PROVENANCE = "written for this repository; not the output of any language model named here"
CREATED = "2026-11-24T00:00:00+00:00"
CUT = {"dynamic-pruning-with-reinforcement-learning"}
"""Answers that end as if at a token limit."""


def main() -> None:
    """Write one attempt for each idea."""
    for idea in ideas():
        text = (GENERATED / "sample" / "completions" / f"{idea.slug}.md").read_text(encoding="utf-8")
        prompt = render(idea)
        finish_reason = "length" if idea.slug in CUT else "stop"
        completion = Completion(
            model="sample",
            text=text,
            finish_reason=finish_reason,
            refusal=None,
            request={"note": f"no request was sent: {PROVENANCE}"},
            response={
                "model": "sample",
                "choices": [
                    {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
                ],
            },
            latency_seconds=0.0,
            created=CREATED,
        )
        source, status, message = extract(completion)
        shutil.rmtree(GENERATED / "sample" / idea.slug, ignore_errors=True)
        pruner = archive(
            prompt, completion, GENERATED, source=source, status=status, message=message, provenance=PROVENANCE
        )
        print(pruner.name, pruner.status or "code")


if __name__ == "__main__":
    main()
