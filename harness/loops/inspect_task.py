"""inspect_ai: a task whose samples are ideas, and a scorer that runs the answers. The one module that imports it.

    inspect eval $(python -c "import harness.loops.inspect_task as t; print(t.__file__)")@pruning \
        --model openai/o1 -T template=terse
"""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ModelOutput
from inspect_ai.scorer import Score, Scorer, Target, accuracy, mean, scorer, stderr
from inspect_ai.solver import TaskState, generate

from harness import evaluator
from harness.records import Completion, Pruner
from harness.stages.candidate import extract
from harness.stages.idea import ideas
from harness.stages.prompt import render

_Levels = str | float | list[str | float]
_FINISH_REASONS = {"max_tokens": "length", "model_length": "length", "content_filter": "content_filter"}


@task
def pruning(
    template: str = "one-pass", sparsities: _Levels = "0.5", target: str = "testbed-llama", **options: Any
) -> Task:
    """One sample for each idea of `prompts/ideas`: a model is asked once, and its pruner is run and measured.

    Args:
        template: a prompt template.
        sparsities: one or several, on a command line as in `0.5,2:4`; YAML reads a lone `2:4` as a number, so quote
            it: `-T sparsities='"2:4"'`.
        target: the model to prune.
        options: others of `harness.evaluator.evaluate`, such as `sandbox` and `eval_windows`.
    """
    samples = [
        Sample(
            input=render(idea, template).text,
            target="OK",
            id=idea.slug,
            metadata={"idea": idea.slug, "title": idea.title, "template": template},
        )
        for idea in ideas()
    ]
    measured = perplexity(sparsities=sparsities, target=target, **options)
    return Task(dataset=MemoryDataset(samples, name="ideas"), solver=generate(), scorer=measured)


@scorer(metrics={"ok": [accuracy(), stderr()], "combined_score": [mean(), stderr()]})
def perplexity(sparsities: _Levels = "0.5", target: str = "testbed-llama", **options: Any) -> Scorer:
    """Scores an answer by its pruner's run: `ok` is 1 or 0, `combined_score` as in `harness.evaluator.Evaluation`.

    The answer is parsed by the harness's own child process, and runs in the harness's own sandbox: none of inspect_ai's
    is needed. Perplexity ratios and statuses are in the score's metadata. A fault of the harness is raised: the sample
    then has an error, and no score.
    """
    levels = sparsities if isinstance(sparsities, list) else [sparsities]

    async def score(state: TaskState, target_: Target) -> Score:  # noqa: ARG001 - what inspect_ai calls
        pruner = await anyio.to_thread.run_sync(partial(_pruner, state))
        measured = partial(evaluator.evaluate_pruner, pruner, target=target, sparsities=levels, **options)
        found = await anyio.to_thread.run_sync(measured)
        return Score(
            value={"ok": float(found["correct"]), "combined_score": found["combined_score"]},
            answer=None if pruner.source is None else pruner.source.decode(errors="replace"),
            explanation="\n".join(f"{name}: {text}" for name, text in found["artifacts"].items()),
            metadata={"metrics": found["metrics"], "artifacts": found["artifacts"]},
        )

    return score


def _pruner(state: TaskState) -> Pruner:
    """The program in the model's answer, or why there is none."""
    output = state.output
    extracted = extract(_completion(output, str(state.model)))
    source = None if extracted.source is None else extracted.source.encode()
    return Pruner(
        name=f"{output.model or state.model}/{state.sample_id}",
        author="model",
        source=source,
        idea=state.metadata.get("idea"),
        model=output.model or str(state.model),
        template=state.metadata.get("template"),
        status=extracted.status,
        message=extracted.message,
    )


def _completion(output: ModelOutput, model: str) -> Completion:
    reason = None if output.empty else _FINISH_REASONS.get(output.stop_reason, "stop")
    return Completion(
        model=output.model or model,
        text=output.completion,
        finish_reason=reason,
        refusal=output.error,
        request={},
        response={},
        latency_seconds=output.time or 0.0,
        created="",
    )
