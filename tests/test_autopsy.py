"""Why pruners fail, told from errors that the real parts make: Python, torch, the worker, the check of the weights."""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness import answers, pruners
from harness.autopsy import CODE_CHARACTERS, SENTENCE_CHARACTERS, Autopsy, autopsy
from harness.causes import Cause, Rule
from harness.records import Execution, Failure, Limits, Score, Sparsity
from harness.stages import sandbox_run
from harness.stages.pruned_weights import PrunedWeights
from harness.status import Status
from harness.testing.fake_bench import fake_score
from sandbox import interface, task, worker
from sandbox.checkpoint import Checkpoint
from sandbox.layout import LayerSpec, Layout, OutputFile
from sandbox.structure import layer_specs

from .conftest import VOCABULARY

HEAD = """\
import os, socket, math
import numpy as np
import torch


def prune(task):
    layer = next(task.layers())
    weight = layer.weight
    """
IDS = torch.randint(0, VOCABULARY, (2, 16), generator=torch.Generator().manual_seed(2))

RAISES: dict[str, tuple[Cause, Rule | None]] = {
    # tensors that do not fit
    "torch.ones(2, 3) @ torch.ones(2, 3)": (Cause.SHAPE, None),
    "torch.ones(3) + torch.ones(4)": (Cause.SHAPE, None),
    "weight.reshape(7, 7)": (Cause.SHAPE, None),
    "weight.expand(3, 5)": (Cause.SHAPE, None),
    "weight.t().view(-1)": (Cause.SHAPE, None),
    "torch.cat([torch.ones(2, 3), torch.ones(3, 2)])": (Cause.SHAPE, None),
    "torch.stack([torch.ones(2), torch.ones(3)])": (Cause.SHAPE, None),
    "weight[torch.ones(3, 3, dtype=torch.bool)] = 0": (Cause.SHAPE, None),
    "weight[weight > 0] = torch.ones(3)": (Cause.SHAPE, None),
    "torch.ones(3, 3).gather(1, torch.zeros(4, 4, dtype=torch.long))": (Cause.SHAPE, None),
    "torch.linalg.inv(torch.ones(2, 3))": (Cause.SHAPE, None),
    "np.ones(3) + np.ones(4)": (Cause.SHAPE, None),
    "np.ones(6).reshape(4, 2)": (Cause.SHAPE, None),
    "rows, columns = torch.ones(3)": (Cause.SHAPE, None),
    "print('large' if weight > 0 else 'small')": (Cause.SHAPE, None),
    "float(weight)": (Cause.SHAPE, None),
    "torch.tensor([[1], [2, 3]])": (Cause.SHAPE, None),
    "weight.repeat(2)": (Cause.SHAPE, None),
    "torch.bmm(weight, weight)": (Cause.SHAPE, None),
    "torch.outer(weight, weight)": (Cause.SHAPE, None),
    "torch.einsum('ij,jk->ik', weight, weight[:2])": (Cause.SHAPE, None),
    "weight.masked_scatter_(weight > -9, torch.ones(1))": (Cause.SHAPE, None),
    "layer.keep(weight[:2] > 0)": (Cause.SHAPE, Rule.KEEP),
    "layer.weight = weight[:2]": (Cause.SHAPE, Rule.SHAPES),
    # places and arguments that are not there
    "weight.flatten().kthvalue(0)": (Cause.OUT_OF_RANGE, None),
    "weight.topk(1000)": (Cause.OUT_OF_RANGE, None),
    "weight.sum(dim=5)": (Cause.OUT_OF_RANGE, None),
    "torch.quantile(weight.flatten(), 2.0)": (Cause.OUT_OF_RANGE, None),
    "torch.tensor([]).max()": (Cause.OUT_OF_RANGE, None),
    "weight[:, 99]": (Cause.OUT_OF_RANGE, None),
    "torch.bernoulli(weight.abs() + 5)": (Cause.OUT_OF_RANGE, None),
    "torch.distributions.Bernoulli(weight.abs() + 5)": (Cause.OUT_OF_RANGE, None),
    "weight.chunk(0)": (Cause.OUT_OF_RANGE, None),
    "torch.zeros(-1)": (Cause.OUT_OF_RANGE, None),
    "np.partition(np.ones(3), 7)": (Cause.OUT_OF_RANGE, None),
    "list(task.layers())[999]": (Cause.OUT_OF_RANGE, None),
    "{}['model.layers.0']": (Cause.OUT_OF_RANGE, None),
    "torch.quantile(torch.zeros(20_000_000), 0.5)": (Cause.TOO_LARGE, None),
    # dtypes, devices, layouts
    "torch.quantile(torch.ones(3, dtype=torch.long), 0.5)": (Cause.DTYPE_DEVICE, None),
    "torch.ones(2, 2) @ torch.ones(2, 2, dtype=torch.double)": (Cause.DTYPE_DEVICE, None),
    "(weight > 0) - (weight < 0)": (Cause.DTYPE_DEVICE, None),
    "torch.ones(3, dtype=torch.long).mean()": (Cause.DTYPE_DEVICE, None),
    "weight.masked_fill(torch.ones_like(weight), 0.0)": (Cause.DTYPE_DEVICE, None),
    "torch.where(weight, weight, 0.0)": (Cause.DTYPE_DEVICE, None),
    "print(~weight)": (Cause.DTYPE_DEVICE, None),
    "weight[torch.tensor([0.5])]": (Cause.DTYPE_DEVICE, None),
    "torch.ones(2, dtype=torch.long).add_(0.5)": (Cause.DTYPE_DEVICE, None),
    "weight.to(torch.bfloat16).numpy()": (Cause.DTYPE_DEVICE, None),
    "torch.ones(2, 2, device='meta') + torch.ones(2, 2)": (Cause.DTYPE_DEVICE, None),
    "torch.linalg.cholesky(torch.ones(2, 2, dtype=torch.long))": (Cause.DTYPE_DEVICE, None),
    "weight.scatter_(1, torch.ones(2, 2), 0.0)": (Cause.DTYPE_DEVICE, None),
    "weight.masked_select(weight)": (Cause.DTYPE_DEVICE, None),
    "torch.allclose(weight, weight.double())": (Cause.DTYPE_DEVICE, None),
    "weight.to_sparse().argsort()": (Cause.DTYPE_DEVICE, None),
    "weight.to_sparse().numpy()": (Cause.DTYPE_DEVICE, None),
    # gradients
    "weight.sum().backward()": (Cause.AUTOGRAD, None),
    "torch.nn.Parameter(weight).mul_(0)": (Cause.AUTOGRAD, None),
    "torch.nn.Parameter(weight).numpy()": (Cause.AUTOGRAD, None),
    "(torch.nn.Parameter(weight) * 2).backward()": (Cause.AUTOGRAD, None),
    "torch.autograd.grad(weight.sum(), weight)": (Cause.AUTOGRAD, None),
    "with torch.inference_mode():\n        frozen = weight * 2\n    frozen.mul_(0)": (Cause.AUTOGRAD, None),
    "loss = (torch.nn.Parameter(weight) ** 2).sum()\n    loss.backward()\n    loss.backward()": (Cause.AUTOGRAD, None),
    # numbers
    "torch.linalg.cholesky(-torch.eye(3))": (Cause.NUMERICAL, None),
    "torch.linalg.inv(torch.zeros(3, 3))": (Cause.NUMERICAL, None),
    "np.linalg.inv(np.zeros((3, 3)))": (Cause.NUMERICAL, None),
    "torch.linalg.eigh(torch.full((3, 3), float('nan')))": (Cause.NUMERICAL, None),
    "torch.multinomial(torch.full((3,), float('nan')), 1)": (Cause.NUMERICAL, None),
    "int(float('nan'))": (Cause.NUMERICAL, None),
    "math.log(0)": (Cause.NUMERICAL, None),
    "1 / 0": (Cause.NUMERICAL, None),
    # the interface, as it is not
    "layer.in_features": (Cause.INTERFACE, Rule.ALL_IT_SEES),
    "task.get_layers()": (Cause.INTERFACE, Rule.ALL_IT_SEES),
    "task.sparsity.target": (Cause.INTERFACE, Rule.ALL_IT_SEES),
    "task.sparsity * 2": (Cause.INTERFACE, Rule.ALL_IT_SEES),
    "print([one for one in task])": (Cause.INTERFACE, Rule.ALL_IT_SEES),
    "print([one for one in task.layers])": (Cause.INTERFACE, Rule.ALL_IT_SEES),
    "layer.inputs()": (Cause.INTERFACE, Rule.ALL_IT_SEES),
    "layer[0]": (Cause.INTERFACE, Rule.ALL_IT_SEES),
    "torch.zeros_like(layer)": (Cause.INTERFACE, Rule.ALL_IT_SEES),
    "from interface import Mask": (Cause.INTERFACE, Rule.ALL_IT_SEES),
    "layer.keep()": (Cause.WRONG_CALL, Rule.KEEP),
    "layer.keep(weight > 0, inplace=True)": (Cause.WRONG_CALL, Rule.KEEP),
    "task.layers(0)": (Cause.WRONG_CALL, Rule.ALL_IT_SEES),
    "torch.topk(weight)": (Cause.WRONG_CALL, None),
    "weight.sum(axis=0, keep=True)": (Cause.WRONG_CALL, None),
    "torch.abs('weight')": (Cause.WRONG_CALL, None),
    "(lambda layer, ratio: None)(layer)": (Cause.WRONG_CALL, None),
    "task.sparsity.n / task.sparsity.m": (Cause.NONE_VALUE, Rule.UNSTRUCTURED),
    "layer.bias.abs()": (Cause.NONE_VALUE, Rule.BIAS),
    "torch.nn.Parameter(weight).grad.abs()": (Cause.NONE_VALUE, None),
    "layer.keep([True])": (Cause.WRONG_TYPE, Rule.KEEP),
    "layer.keep(np.ones((16, 16), dtype=bool))": (Cause.WRONG_TYPE, Rule.KEEP),
    "weight + 'a'": (Cause.WRONG_TYPE, None),
    "len(3)": (Cause.WRONG_TYPE, None),
    # names
    "torch.prune_by_magnitude(weight)": (Cause.MISSING_NAME, None),
    "weight.num_elements()": (Cause.MISSING_NAME, None),
    "from torch.nn.utils import magic": (Cause.MISSING_NAME, None),
    "import sklearn_is_not_here.cluster": (Cause.MISSING_MODULE, Rule.LIBRARIES),
    "import torch.magic": (Cause.MISSING_MODULE, None),
    "tensor.abs()": (Cause.UNDEFINED_NAME, None),
    "total += 1": (Cause.UNDEFINED_NAME, None),
    # what cannot be changed
    "layer.bias = weight[0]": (Cause.READ_ONLY, Rule.WEIGHT),
    "layer.inputs = weight": (Cause.READ_ONLY, Rule.WEIGHT),
    "task.sparsity.ratio = 0.1": (Cause.READ_ONLY, None),
    "np.broadcast_to(np.ones(1), (3,))[0] = 0": (Cause.READ_ONLY, None),
    "weight[:1].expand(3, -1).mul_(0)": (Cause.READ_ONLY, None),
    # its own errors, whatever their words are like
    "raise ValueError('The size of tensor a (3) must match')": (Cause.OWN_ERROR, None),
    "assert weight.numel() == 3, 'CUDA out of memory'": (Cause.OWN_ERROR, None),
    "raise NotApplicable('has no bias')": (Cause.NOT_APPLICABLE, None),
    # no weights
    "layer.weight = weight.tolist()": (Cause.UNUSABLE_WEIGHTS, Rule.WEIGHT),
    "layer.weight = weight.to(torch.complex64)": (Cause.UNUSABLE_WEIGHTS, Rule.WEIGHT),
    # the sandbox
    "torch.empty(10**15)": (Cause.MEMORY, None),
    "raise MemoryError": (Cause.MEMORY, None),
    "raise OSError(28, 'No space left on device')": (Cause.OTHER_LIMIT, None),
    "socket.create_connection(('127.0.0.1', 1))": (Cause.NETWORK, Rule.NO_NETWORK),
    "open('weights.bin.is.not.here')": (Cause.MISSING_FILE, None),
    "os.mkdir('/sys/pruner')": (Cause.FORBIDDEN, None),
    # nothing is guessed
    "(lambda f: f(f))(lambda f: f(f))": (Cause.OTHER, None),
    "int('half')": (Cause.OTHER, None),
}
"""The last line of a pruner, which fails, and what is found."""

FILES: dict[str, tuple[Cause, Rule | None]] = {
    "def prune(task:": (Cause.SYNTAX, Rule.PRUNE),
    "Here is the program.": (Cause.SYNTAX, Rule.PRUNE),
    "prune = 3": (Cause.NO_PRUNE, Rule.PRUNE),
    "class Pruner:\n    def prune(self, task): pass": (Cause.NO_PRUNE, Rule.PRUNE),
    "def prune(model, ratio): pass": (Cause.NO_PRUNE, Rule.PRUNE),
    "def prune(task):\n    yield 1": (Cause.NO_PRUNE, Rule.PRUNE),
}
"""Whole files."""

EACH = "def prune(task):\n    for place, layer in enumerate(task.layers()):\n        "
ENDS_WELL: dict[tuple[str, str], tuple[Cause, Rule, str]] = {
    ("0.5", f"{EACH}pass"): (Cause.NOTHING_PRUNED, Rule.EXACT_ZEROS, "not one weight"),
    ("0.5", f"{EACH}layer.weight[0] = 0"): (Cause.TOO_FEW_ZEROS, Rule.BY_LAYER, "112 more; of all weights"),
    ("0.5", f"{EACH}layer.weight = layer.weight * (place == 0)"): (Cause.UNEVEN_BUDGET, Rule.UNIFORM, "enough in all"),
    ("0.5", f"UNIFORM = False\n{EACH}layer.weight[0] = 0"): (Cause.TOO_FEW_ZEROS, Rule.SUM, "asked for is 0.5"),
    ("0.5", f"{EACH}layer.weight = layer.weight / 0"): (Cause.NUMERICAL, Rule.FINITE, "not finite"),
    ("2:4", f"{EACH}layer.weight[::2] = 0"): (Cause.PATTERN, Rule.PATTERN, "keeps 4 weights in a group of 4"),
    ("rows:0.5", f"{EACH}layer.weight[:, ::2] = 0"): (Cause.PATTERN, Rule.STRUCTURE, "0 rows of zeros"),
    ("rows:0.5", f"{EACH}layer.weight[0] = 0"): (Cause.TOO_FEW_ZEROS, Rule.STRUCTURE, "asked for is rows:0.5"),
}
"""By sparsity and file: what the check of the weights says, and a piece of the sentence."""


@pytest.fixture(scope="module")
def model(llama: Path) -> tuple[Checkpoint, list[LayerSpec]]:
    checkpoint = Checkpoint(llama)
    return checkpoint, layer_specs(checkpoint)


@pytest.fixture
def fail(
    model: tuple[Checkpoint, list[LayerSpec]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Score]:
    """What the worker, the host's reader and the check say of a program of this file, all in this process."""
    checkpoint, layers = model
    for name in ("pruner", "interface"):  # the worker sets them
        monkeypatch.setitem(sys.modules, name, ModuleType(name))

    def run(source: str, label: str = "0.5") -> Score:
        path, output = tmp_path / "pruner.py", tmp_path / "weights"
        path.write_text(source)
        output.write_bytes(bytes(Layout(layers).total_bytes))
        sparsity = Sparsity.parse(label)
        asked = task.Sparsity(sparsity.ratio, sparsity.n, sparsity.m, sparsity.structure)
        file = OutputFile(str(output), Layout(layers))
        try:
            prune, uniform = worker._load(path)
            worker._prune(prune, task.PruningTask(checkpoint, layers, file, IDS, asked, "sequential", 0))
        except worker.CandidateError as failed:
            report = json.loads(json.dumps(worker._described(failed, str(path))))
            status = Status(report["kind"])
            return fake_score(status=status, error=sandbox_run._reported(status, report))
        file.finish()
        descriptor = os.open(output, os.O_RDONLY)
        verdict = PrunedWeights(descriptor, layers, checkpoint).check(sparsity, uniform)
        os.close(descriptor)
        achieved = verdict.achieved_sparsity
        return fake_score(sparsity=label, status=verdict.status, error=verdict.failure, achieved_sparsity=achieved)

    return run


def found(score: Score, source: str | None = None) -> Autopsy:
    why = autopsy(score, None if source is None else source.encode())
    assert why is not None
    assert why.stage == Status(score.status).stage
    assert 10 <= len(why.sentence) <= SENTENCE_CHARACTERS + 10
    assert "\n" not in why.sentence
    return why


@pytest.mark.parametrize("line", RAISES)
def test_what_python_numpy_and_torch_say_has_its_cause(line: str, fail: Callable[..., Score]) -> None:
    source = HEAD + line + "\n"
    score = fail(source)
    why = found(score, source)
    assert (why.cause, why.rule) == RAISES[line], (score.status, score.error)
    assert why.code_line == line.splitlines()[-1].strip()
    assert source.splitlines()[(why.line or 0) - 1].strip() == why.code_line
    assert found(score) == why, "the traceback says as much as the source"


@pytest.mark.parametrize("source", FILES)
def test_files_that_are_no_pruner(source: str, fail: Callable[..., Score]) -> None:
    score = fail(source)
    why = found(score, source)
    assert (why.cause, why.rule) == FILES[source], score.error
    assert why.code_line == (source if why.cause is Cause.SYNTAX else None)


@pytest.mark.parametrize(("sparsity", "source"), ENDS_WELL)
def test_weights_that_are_not_what_was_asked_for(sparsity: str, source: str, fail: Callable[..., Score]) -> None:
    score = fail(source, sparsity)
    why = found(score, source)
    cause, rule, piece = ENDS_WELL[sparsity, source]
    assert (why.cause, why.rule) == (cause, rule), score.error
    assert piece in why.sentence
    assert (why.line, why.code_line) == (None, None)


@pytest.mark.parametrize(
    ("execution", "cause"),
    [
        (Execution(None, None, True, False, 9.0), Cause.TIME),
        (Execution(None, 9, False, True, 1.0), Cause.MEMORY),
        (Execution(None, 24, False, False, 1.0), Cause.OTHER_LIMIT),
        (Execution(None, 11, False, False, 1.0), Cause.KILLED),
        (Execution(0, None, False, False, 1.0), Cause.NO_RESULT),
    ],
)
def test_what_the_host_saw_is_a_cause(execution: Execution, cause: Cause) -> None:
    status, failure = sandbox_run._status(execution, Limits(), False, {})
    assert status is not None
    assert failure is not None
    why = found(fake_score(status=status, error=failure))
    assert (why.cause, why.rule) == (cause, None)
    assert failure.message in why.sentence


@pytest.mark.parametrize(
    ("answer", "truncated", "cause"),
    [
        ("", False, Cause.NO_CODE),
        ("Pruning is a large field.", False, Cause.NO_CODE),
        ("```python\ndef prune(task):\n    x = (", True, Cause.CUT_OFF),
        ("I'm sorry, but I can't help with that.", False, Cause.REFUSED),
        ("x" * (1 << 18), False, Cause.UNREADABLE),
    ],
)
def test_answers_without_a_program(answer: str, truncated: bool, cause: Cause) -> None:
    extraction = answers.read(answer, truncated)
    assert extraction.status is not None
    error = Failure(extraction.status.stage, extraction.status.value, extraction.message or "")
    score = fake_score(status=extraction.status, error=error)
    why = found(score)
    assert (why.cause, why.rule) == (cause, Rule.PRUNE)
    ended = autopsy(score, None, "length")
    assert ended is not None
    assert ended == replace(why, sentence=ended.sentence)
    assert ended.sentence.endswith("(the endpoint's reason for its end: length)") == (cause is not Cause.UNREADABLE)


def test_the_bundled_attempts_without_code_have_their_causes() -> None:
    causes = {}
    for name in pruners.candidates():
        pruner = pruners.find(name)
        if pruner.status is not None:  # what the pipeline makes of it
            error = Failure(pruner.status.stage, pruner.status.value, pruner.message or "")
            causes[name] = found(fake_score(name, status=pruner.status, error=error)).cause
    assert causes["sample/dynamic-pruning-with-reinforcement-learning/01"] is Cause.CUT_OFF
    local = [cause for name, cause in causes.items() if name.startswith("local-smollm2-135m/")]
    assert sorted(local) == [Cause.CUT_OFF] * 5 + [Cause.NO_CODE] * 3


def test_sentences_have_the_names_and_numbers(fail: Callable[..., Score]) -> None:
    sentences = {
        "layer.in_features": "It uses layer.in_features, which the interface does not have.",
        "task.sparsity.target": "It uses task.sparsity.target, which the interface does not have.",
        "import sklearn_is_not_here.cluster": "It imports sklearn_is_not_here, which the sandbox does not have.",
        "int('half')": "ValueError: invalid literal for int() with base 10: 'half'",
    }
    for line, sentence in sentences.items():
        assert found(fail(HEAD + line)).sentence == sentence
    assert found(fail(HEAD + "torch.ones(3) + torch.ones(4)")).sentence.startswith(
        f"{Cause.SHAPE.meaning[:-1]}: RuntimeError: The size of tensor a (3) must match the size of tensor b (4)"
    )


def test_only_failures_of_pruners_have_an_autopsy(fail: Callable[..., Score]) -> None:
    assert autopsy(fake_score()) is None
    assert autopsy(fake_score(quarantined=True)) is None
    assert autopsy(replace(fake_score(), status="INFRA_SANDBOX", outcome=None)) is None
    with_seed = fail(HEAD + "torch.ones(3) + torch.ones(4)")
    assert with_seed.error is not None
    seeded = replace(with_seed, error=replace(with_seed.error, message=f"with seed 3: {with_seed.error.message}"))
    assert autopsy(seeded) == autopsy(with_seed)


def test_the_source_counts_for_more_than_the_traceback(fail: Callable[..., Score]) -> None:
    score = fail(HEAD + "len(3)")
    assert score.error is not None
    forged = (score.error.traceback or "").replace("len(3)", "all is well")
    lied = replace(score, error=replace(score.error, traceback=forged))
    assert found(lied).code_line == "all is well"
    assert found(lied, HEAD + "len(3)").code_line == "len(3)"
    assert found(lied, "too short").code_line is None


TEXT = st.text(max_size=400) | st.sampled_from(["PrunableLayer", "a has 1 zeros of 2, but needs 99999999999999999999"])


@given(
    status=st.sampled_from([status for status in Status if status is not Status.OK]),
    error=st.none() | st.builds(Failure, TEXT, TEXT, TEXT, st.none() | st.integers(), st.none() | TEXT),
    source=st.none() | st.binary(max_size=200),
    achieved=st.none() | st.floats(0, 1),
    finish_reason=st.none() | TEXT,
)
def test_whatever_stands_in_a_record_is_bounded_and_clean(
    status: Status, error: Failure | None, source: bytes | None, achieved: float | None, finish_reason: str | None
) -> None:
    score = fake_score(status=status, error=error, achieved_sparsity=achieved)
    why = autopsy(score, source, finish_reason)
    assert why is not None
    assert len(why.sentence) <= SENTENCE_CHARACTERS + 10
    assert len(why.code_line or "") <= CODE_CHARACTERS + 10
    for text in (why.sentence, (why.code_line or "").replace("\n", "")):
        assert not [one for one in text if unicodedata.category(one)[0] == "C"]


def test_the_rules_are_words_of_the_interface_and_every_cause_is_described() -> None:
    text = " ".join(Path(interface.__file__).read_text().split())
    for rule in Rule:
        assert " ".join(rule.words.split()) in text, rule
    assert all(re.fullmatch(r"[A-Z`].{15,}\.", cause.meaning) for cause in Cause)
    reached = {cause for table in (RAISES, FILES, ENDS_WELL) for cause, *_ in table.values()}
    elsewhere = {Cause.TIME, Cause.KILLED, Cause.NO_RESULT}
    elsewhere |= {Cause.NO_CODE, Cause.CUT_OFF, Cause.REFUSED, Cause.UNREADABLE}
    assert reached | elsewhere == set(Cause)
