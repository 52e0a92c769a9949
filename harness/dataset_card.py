"""README.md of a pack: a Hugging Face dataset card. Names in it are hostile: every text is escaped."""

from __future__ import annotations

from collections.abc import Mapping

from harness import __version__
from harness.columns import COLUMNS
from harness.frames import Frames
from harness.model_card import markdown_text, yaml_text

_CONFIG = """\
- config_name: {name}
  default: {default}
  data_files: data/{name}.csv
  keep_default_na: false
  na_values:
  - ''
"""  # the status NA is a text and no missing value
_CONTENTS = """\
## What is in it

- `results.sqlite`: all results, with the loss of every window.
- `study.toml`: the study file.
- `reference_pruners/`, `pruners/`: code that people wrote.
- `generated/`: what each language model was asked and answered, and the code in it. It was run in a sandbox; do not run
  it outside of one.
- `data/`: the tables below, as CSV.
- `manifest.json`: SHA-256 and size of every other file.

## Check it and use it

    harness verify STUDY.zip     # every byte
    harness report STUDY.zip     # leaderboard and figure

    import harness
    frames = harness.load("STUDY.zip")

A folder with what is in the zip is a dataset of the Hugging Face hub. Read the CSV files elsewhere with empty fields as
missing and the text `NA` as text, in pandas `keep_default_na=False, na_values=['']`; a text that a spreadsheet would
take for a formula has an apostrophe in front.

"""


def dataset_card(frames: Frames, counts: Mapping[str, int], licence: str | None) -> str:
    """YAML front matter that makes each CSV a configuration, then what the pack is and how to use it.

    Args:
        frames: what is in it.
        counts: `cells`, `scores`, `faults`, `pruners`.
        licence: an identifier, as in `cc-by-4.0`; None where none was chosen.
    """
    filled = [name for name, frame in frames.items() if len(frame)]  # an empty one has no types to infer
    configs = "".join(_CONFIG.format(name=name, default=str(name == "scores").lower()) for name in filled)
    chosen = f"The licence that was chosen is {markdown_text(licence)}." if licence else "No licence was chosen."
    return (
        f"---\npretty_name: {yaml_text(frames.name)}\nlicense: {yaml_text(licence or 'other')}\n"
        f"tags:\n- pruning\n- sparsity\n- language-models\n- code-generation\n- benchmark\nconfigs:\n{configs}---\n\n"
        f"# {markdown_text(frames.name)}\n\n"
        "Results of pruning algorithms that language models wrote, beside those that people wrote, on the same models,"
        f" through the same sandbox, measured the same way. Packed by `harness` {__version__}: {counts['scores']} of"
        f" {counts['cells']} cells have a result, {counts['faults']} met a fault of the harness,"
        f" {counts['pruners']} pruners.\n\n"
        "## How it was measured\n\n"
        "Perplexity per token over windows of the evaluation text that do not overlap; two protocol ids are never"
        f" ranked together.\n\n{_protocols(frames)}\n"
        f"{_CONTENTS}{_columns()}"
        f"## Licence\n\n{chosen} The reference pruners of `harness` are under the MIT licence; what a language model"
        " wrote may be under the terms of its provider.\n"
    )


def _protocols(frames: Frames) -> str:
    rows = frames.protocols.to_dict("records")
    return "".join(
        f"- {markdown_text(str(row['protocol']))} on {markdown_text(str(row['target']))}: {row['windows']} windows of"
        f" {row['seqlen']} tokens of {markdown_text(str(row['evaluation']))}, {row['calibration_samples']} calibration"
        f" windows of {markdown_text(str(row['calibration']))}, {markdown_text(str(row['dtype']))}\n"
        for row in rows
    )


def _columns() -> str:
    parts = []
    for name, columns in COLUMNS.items():
        rows = "".join(f"| `{column}` | {one.dtype} | {one.what} |\n" for column, one in columns.items())
        parts.append(f"### {name}\n\n| column | dtype | what |\n| --- | --- | --- |\n{rows}\n")
    return "".join(parts)
