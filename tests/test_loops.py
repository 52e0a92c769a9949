"""Other people's loops, as they are: the real packages with a model on this machine, programs in the real sandbox."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from harness import evaluator
from harness.errors import UsageError
from harness.loops import openevolve, shinka
from harness.resources import resource
from harness.testing.openai_server import OpenAIServer

OPTIONS: dict[str, Any] = {
    "sandbox": "bubblewrap",
    "sparsities": ["0.5"],
    "calibration_samples": 2,
    "eval_windows": 2,
    "seqlen": 64,
    "timeout_seconds": 120.0,
}
START = resource("prompts") / "parts" / "example.py"
MAGNITUDE = (resource("reference_pruners") / "magnitude.py").read_text()


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is not installed")


def answer(mark: Path) -> str:
    """A better pruner than the first, which would leave a mark wherever it were imported outside of the sandbox."""
    touch = f"import pathlib\n\ntry:\n    pathlib.Path({str(mark)!r}).touch()\nexcept OSError:\n    pass\n"
    code = f"# EVOLVE-BLOCK-START\n{touch}\n{MAGNITUDE}# EVOLVE-BLOCK-END\n"
    return (
        f"<NAME>\nmagnitude\n</NAME>\n<DESCRIPTION>\nBy size.\n</DESCRIPTION>\n<CODE>\n```python\n{code}```\n</CODE>\n"
    )


def marked_start(folder: Path) -> Path:
    file = folder / "initial.py"
    file.write_text(f"# EVOLVE-BLOCK-START\n{START.read_text()}# EVOLVE-BLOCK-END\n")
    return file


def run(*command: str, folder: Path, **environment: str) -> str:
    root = Path(__file__).parent.parent
    given = os.environ | {"PYTHONPATH": str(root), "OPENAI_API_KEY": "none"} | environment
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=given,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    return done.stdout + done.stderr


@needs("openevolve")
def test_openevolve_finds_the_better_program(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "evaluator.py").write_text(
        "from harness.loops.openevolve import evaluate as scored\n\n\n"
        f"def evaluate(program_path):\n    return scored(program_path, **{OPTIONS!r})\n"
    )
    start = marked_start(tmp_path)
    with OpenAIServer(answer(mark)) as server:
        config: dict[str, Any] = {
            "diff_based_evolution": False,
            "checkpoint_interval": 2,
            "llm": {"api_base": server.url, "api_key": "none", "primary_model": "fake", "retries": 0},
            "database": {"population_size": 4, "archive_size": 2, "num_islands": 1},
            "evaluator": {"cascade_evaluation": False, "parallel_evaluations": 1, "max_retries": 0},
        }
        (tmp_path / "config.yaml").write_text(json.dumps(config))
        arguments = [str(start), "evaluator.py", "--config", "config.yaml", "--output", "out", "--iterations", "2"]
        run("openevolve.cli", *arguments, folder=tmp_path)
        assert server.requests
        sent = json.dumps([request.body for request in server.requests])
    best = json.loads((tmp_path / "out/best/best_program_info.json").read_text())
    (tmp_path / "magnitude.py").write_text(MAGNITUDE)
    expected = evaluator.evaluate(tmp_path / "magnitude.py", **OPTIONS)
    assert best["metrics"]["combined_score"] == expected["combined_score"]
    assert best["metrics"]["perplexity/0.5"] == expected["metrics"]["perplexity/0.5"]
    assert best["metrics"]["combined_score"] > evaluator.evaluate(start, **OPTIONS)["combined_score"]
    assert MAGNITUDE.strip() in (tmp_path / "out/best/best_program.py").read_text()
    assert "OK: perplexity" in sent, "the artifacts of the first program are in the question for the next"
    assert not mark.exists(), "it was imported outside of the sandbox"


@needs("shinka")
def test_shinka_finds_the_better_program(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "evaluate.py").write_text(f"from harness.loops.shinka import main\n\nmain(**{OPTIONS!r})\n")
    start = marked_start(tmp_path)
    with OpenAIServer(answer(mark)) as server:
        settings = {
            "evo.llm_models": f'["local/fake@{server.url}"]',
            "evo.embedding_model": "null",
            "evo.meta_rec_interval": "null",
            "evo.patch_types": '["full"]',
            "evo.patch_type_probs": "[1.0]",
            "evo.use_text_feedback": "true",
            "db.num_islands": "1",
        }
        options = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        arguments = ["--task-dir", ".", "--results_dir", "out", "--num_generations", "2", *options]
        run("shinka.cli.run", *arguments, folder=tmp_path, LOCAL_OPENAI_API_KEY="none")
        sent = json.dumps([request.body for request in server.requests])
    (database,) = (tmp_path / "out").rglob("*.sqlite")
    rows = sqlite3.connect(database).execute("SELECT generation, combined_score, correct FROM programs").fetchall()
    (tmp_path / "magnitude.py").write_text(MAGNITUDE)
    first, better = (evaluator.evaluate(file, **OPTIONS) for file in (start, tmp_path / "magnitude.py"))
    found = {generation: (score, bool(correct)) for generation, score, correct in rows}
    assert found[0] == (pytest.approx(first["combined_score"], rel=1e-12), True)
    assert found[1] == (pytest.approx(better["combined_score"], rel=1e-12), True)
    assert "OK: perplexity" in sent, "the feedback on the first program is in the question for the next"
    assert not mark.exists(), "it was imported outside of the sandbox"


def test_shinkas_files_of_a_failure(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def prune(task):\n    return 1 / 0\n")
    arguments = ["--program_path", str(tmp_path / "broken.py"), "--results_dir", str(tmp_path / "out")]
    shinka.main(arguments, **OPTIONS)
    correct, metrics = (json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in ("correct", "metrics"))
    assert correct["correct"] is False
    assert "RUNTIME_ERROR: ZeroDivisionError" in correct["error"]
    assert "line 2" in correct["error"]
    assert metrics["combined_score"] == 0
    assert metrics["public"] == {"ok": 0}
    assert metrics["text_feedback"] == correct["error"]


@needs("inspect_ai")
def test_inspect_scores_what_a_model_answers(tmp_path: Path) -> None:
    from inspect_ai import eval as evaluated
    from inspect_ai.model import ModelOutput, ModelUsage, get_model

    from harness.loops.inspect_task import pruning

    mark = tmp_path / "mark"
    contents = [answer(mark), "I would rather not.", "```python\ndef prune(task):\n    1 / 0\n```\n"]
    outputs = [ModelOutput.from_content("mockllm/model", content) for content in contents]
    for output in outputs:
        output.usage = ModelUsage()  # else it is counted, by tables that are fetched
    model = get_model("mockllm/model", custom_outputs=outputs)
    options = {name: value for name, value in OPTIONS.items() if name != "sparsities"}
    task = pruning(template="terse", sparsities="0.5", **options)
    settings = {"log_dir": str(tmp_path), "display": "none", "max_samples": 1, "max_connections": 1}
    (log,) = evaluated(task, model=model, limit=3, **settings)
    assert log.status == "success", log.error
    samples = log.samples or []
    scores = [sample.scores["perplexity"] for sample in samples if sample.scores]
    (tmp_path / "magnitude.py").write_text(MAGNITUDE)
    expected = evaluator.evaluate(tmp_path / "magnitude.py", **OPTIONS)
    assert [score.value["ok"] for score in scores] == [1, 0, 0]
    assert scores[0].value["combined_score"] == expected["combined_score"]
    assert scores[0].metadata["metrics"]["perplexity_ratio/0.5"] == expected["metrics"]["perplexity_ratio/0.5"]
    assert MAGNITUDE.strip() in scores[0].answer
    assert "NO_CODE" in scores[1].explanation
    assert "ZeroDivisionError" in scores[2].explanation
    assert "Gradient Sensitive Pruning" in samples[0].input
    assert log.results is not None
    metrics = {score.name: score.metrics for score in log.results.scores}
    assert metrics["ok"]["accuracy"].value == pytest.approx(1 / 3)
    assert not mark.exists(), "it was imported outside of the sandbox"


@needs("inspect_ai")
def test_inspect_eval_takes_the_task_from_the_module(tmp_path: Path) -> None:
    import harness.loops.inspect_task

    options = ["-T", "template=terse", "-T", "sparsities=0.5,2:4", "-T", "sandbox=bubblewrap", "-T", "eval_windows=2"]
    quiet = ["--model", "openai-api/loop/fake", "--limit", "1", "--display", "none", "--log-dir", "logs"]
    with OpenAIServer("I would rather not.") as server:
        command = ["eval", f"{harness.loops.inspect_task.__file__}@pruning", *quiet, "--log-format", "json", *options]
        run("inspect_ai", *command, folder=tmp_path, LOOP_API_KEY="none", LOOP_BASE_URL=server.url)
        assert len(server.requests) == 1
    (log,) = (tmp_path / "logs").glob("*.json")
    (sample,) = json.loads(log.read_text())["samples"]
    score = sample["scores"]["perplexity"]
    assert score["value"] == {"ok": 0, "combined_score": 0}
    assert set(score["metadata"]["artifacts"]) == {"sparsity 0.5", "sparsity 2:4"}
    assert all(text.startswith("NO_CODE") for text in score["metadata"]["artifacts"].values())


@pytest.mark.parametrize("package", ["openevolve"])
def test_a_missing_package_is_one_line(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, f"{package}.evaluation_result", None)
    with pytest.raises(UsageError, match=r"pip install '\.\[openevolve\]'"):
        openevolve.evaluate(str(START))
