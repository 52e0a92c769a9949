"""Tasks of lm-eval: one of our own, from local files, against an independent computation."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.resources import bundled

from .test_run_command import command  # noqa: F401 - a fixture

needs_lm_eval = pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed")
QUESTIONS = [
    {"question": "The city", "choices": [" is", " of"], "answer": 0},
    {"question": "In the", "choices": [" year", " zzz"], "answer": 0},
    {"question": "It was", "choices": [" qqq", " the"], "answer": 1},
]
TASK = """task: tiny_choice
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""


def accuracy(folder: Path) -> float:
    """The share of questions whose right answer has the larger sum of log probabilities."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def log_likelihood(question: str, answer: str) -> float:
        start, ids = len(tokenizer(question).input_ids), torch.tensor([tokenizer(question + answer).input_ids])
        with torch.no_grad():
            logs = model(input_ids=ids).logits[0].log_softmax(-1)
        return float(sum(logs[place - 1, ids[0, place]].item() for place in range(start, ids.shape[1])))

    right = 0
    for row in QUESTIONS:
        scores = [log_likelihood(str(row["question"]), answer) for answer in row["choices"]]  # type: ignore[attr-defined]
        right += scores.index(max(scores)) == row["answer"]
    return right / len(QUESTIONS)


@needs_lm_eval
def test_a_task_of_our_own_runs_offline(
    command: Callable[..., tuple[int, str, str]],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/tiny.yaml").write_text(TASK.format(data=data))
    arguments = ("testbed-llama", "--tasks", "tiny_choice", "--include-path", str(tmp_path / "tasks"))
    out = tmp_path / "out.json"
    status, shown, _ = command("--quiet", "evaluate", *arguments, "--json", str(out))
    assert status == 0
    records = json.loads(out.read_text())
    assert [(r["model"], r["task"], r["metric"], r["samples"]) for r in records] == [
        ("testbed-llama", "tiny_choice", "acc", 3)
    ]
    assert records[0]["value"] == pytest.approx(accuracy(bundled("testbeds") / "testbed-llama"))
    assert 0 < records[0]["stderr"] < 1
    assert "tiny_choice" in shown
    assert command("--quiet", "evaluate", *arguments, "--limit", "1", "--json", str(out))[0] == 0
    assert json.loads(out.read_text())[0]["samples"] == 1


@needs_lm_eval
def test_an_unknown_task_is_wrong_usage(command: Callable[..., tuple[int, str, str]]) -> None:  # noqa: F811
    status, _, err = command("--quiet", "evaluate", "testbed-llama", "--tasks", "nonesuch")
    assert status == 2
    assert "no task 'nonesuch'" in err


def test_without_the_extra_one_line_says_what_to_install(
    command: Callable[..., tuple[int, str, str]],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    status, out, err = command("evaluate", "testbed-llama", "--tasks", "piqa")
    assert (status, out) == (2, "")
    assert err == "harness: tasks need the package lm-eval: pip install '.[lm-eval]' in the harness's checkout\n"


def test_an_empty_task_name_is_wrong_usage(command: Callable[..., tuple[int, str, str]]) -> None:  # noqa: F811
    assert command("evaluate", "testbed-llama", "--tasks", "piqa,")[0] == 2
