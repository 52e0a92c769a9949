"""More than perplexity: divergence and text against independent computations on the whole model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness import metrics
from harness.bench import Bench
from harness.errors import UsageError
from harness.pruned_model import pruned_model
from harness.records import Score, Sparsity
from harness.resources import bundled
from harness.store import Cell, Plan, Store
from harness.study import parse
from harness.study_run import run as run_study
from harness.testing.fake_bench import FakeLab, fake_score

from .conftest import open_trusted, pruner
from .test_run_command import FIELDS, command  # noqa: F401 - a fixture

MASK = "def prune(task):\n    for layer in task.layers():\n        layer.keep(layer.weight > layer.weight.median())\n"
PROMPT = "The university is"


def masked(folder: Path, dtype: torch.dtype) -> torch.nn.Module:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and ".layers." in name:
            module.weight.data *= module.weight > module.weight.detach().float().median()
    return model  # type: ignore[no-any-return]


@pytest.mark.parametrize("model", ["llama", "opt"])
def test_divergence_agrees_with_float64(model: str, tokens: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(model)
    bench = open_trusted(str(folder), calibration=tokens, evaluation=tokens, kl=True)
    dense, pruned = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64), masked(folder, torch.float64)
    ids = torch.from_numpy(bench.evaluation.ids)
    with torch.no_grad():
        p, q = (m(input_ids=ids).logits[:, :-1].softmax(-1) for m in (dense, pruned))
    expected = (p * (p / q).log()).sum(-1).mean().item()
    score = bench.score(pruner(MASK), Sparsity.parse("0.4"))
    assert score.kl_divergence == pytest.approx(expected, rel=1e-4)
    assert expected > 1e-3


def test_dense_diverges_from_itself_by_nothing(llama: Path, tokens: str) -> None:
    bench = open_trusted(str(llama), calibration=tokens, evaluation=tokens, kl=True)
    score = bench.score(pruner("def prune(task): pass"), Sparsity.parse("0"))
    assert score.kl_divergence == 0.0
    assert score.perplexity == bench.dense_perplexity


def test_asking_for_more_changes_no_loss(llama: Path, tokens: str, llama_bench: Bench) -> None:
    asked = open_trusted(str(llama), calibration=tokens, evaluation=tokens, kl=True)
    plain, more = (bench.score(pruner(MASK), Sparsity.parse("0.4")) for bench in (llama_bench, asked))
    assert plain.window_losses == more.window_losses
    assert (plain.kl_divergence, plain.text) == (None, None)
    assert asked.measurement.id == llama_bench.measurement.id


@pytest.fixture(scope="module")
def hostile_generation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A testbed whose generation settings ask for sampling and penalties, and end at once."""
    folder = tmp_path_factory.mktemp("testbed") / "model"
    shutil.copytree(bundled("testbeds") / "testbed-llama", folder)
    settings = {"do_sample": True, "temperature": 9.0, "repetition_penalty": 3.0, "eos_token_id": list(range(1024))}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    return folder


def greedy(model: torch.nn.Module, folder: Path, count: int) -> str:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor([tokenizer(PROMPT)["input_ids"]])
    start = ids.shape[1]
    with torch.no_grad():
        for _ in range(count):
            ids = torch.cat([ids, model(input_ids=ids, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
    return str(tokenizer.decode(ids[0, start:]))


def test_text_is_the_greedy_one_whatever_the_checkpoint_asks_for(hostile_generation: Path, tokens: str) -> None:
    folder = hostile_generation
    bench = open_trusted(str(folder), calibration=tokens, evaluation=tokens, text=PROMPT, text_tokens=24)
    score = bench.score(pruner(MASK), Sparsity.parse("0.4"))
    dense = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    assert bench.dense_text == greedy(dense, folder, 24)
    assert score.text == greedy(masked(folder, torch.float32), folder, 24)
    assert score.text != bench.dense_text


def test_the_model_in_memory_is_that_of_the_scorer(llama: Path, llama_bench: Bench) -> None:
    seen: list[torch.Tensor] = []
    ids = torch.from_numpy(llama_bench.evaluation.ids)

    def logits(_score: Score, weights: object) -> None:
        with torch.no_grad():
            model = pruned_model(llama_bench.target.checkpoint, weights.parameters)  # type: ignore[attr-defined]
            seen.append(model(input_ids=ids).logits)

    llama_bench.score(pruner(MASK), Sparsity.parse("0.4"), then=logits)
    with torch.no_grad():
        expected = masked(llama, torch.float32)(input_ids=ids).logits
    torch.testing.assert_close(seen[0], expected)


def test_then_is_called_for_what_is_ok_alone(llama_bench: Bench) -> None:
    called: list[Score] = []
    source = "def prune(task): pass"
    score = llama_bench.score(pruner(source), Sparsity.parse("0.5"), then=lambda score, _: called.append(score))
    assert (score.status, called) == ("SPARSITY_MISSED", [])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"text": PROMPT}, "has no tokenizer"),
        ({"target": "testbed-llama", "text": " "}, "prompt is empty"),
        ({"target": "testbed-llama", "text": PROMPT, "text_tokens": 256}, "too long"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_refused_before_anything_runs(
    arguments: dict[str, object], words: str, llama: Path, tokens: str
) -> None:
    with pytest.raises(UsageError, match=words):
        open_trusted(**({"target": str(llama), "calibration": tokens, "evaluation": tokens} | arguments))  # type: ignore[arg-type]


def test_the_command_shows_and_writes_what_was_asked_for(
    command: Callable[..., tuple[int, str, str]],  # noqa: F811
    tokens: str,
    tmp_path: Path,
) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("def prune(task):\n    raise ValueError\n")
    arguments = ["--quiet", "run", "magnitude", str(bad), "--target", "testbed-llama", "--sparsity", "0.5",
                 "--calibration", tokens, "--eval", tokens]  # fmt: skip
    out = tmp_path / "out.json"
    status, shown, _ = command(*arguments, "--kl", "--text", PROMPT, "--text-tokens", "3", "--json", str(out))
    good, failed = json.loads(out.read_text())
    assert status == 0
    assert set(good) == set(failed) == FIELDS | {"kl_divergence", "text"}
    assert good["kl_divergence"] > 0
    assert (failed["kl_divergence"], failed["text"]) == (None, None)
    assert "KL" in shown
    assert "dense: " in shown
    assert f"{good['kl_divergence']:.4f}" in shown
    status, shown, _ = command(*arguments, "--kl", "--json", str(out))
    assert set(json.loads(out.read_text())[0]) == FIELDS | {"kl_divergence"}
    assert "dense: " not in shown


def test_text_of_a_pruned_model_is_made_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    from harness.cli._output import print_texts

    print_texts([fake_score(text="\x1b[31mred\u202e [bold]x\nnext")], "dense")
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "[bold]x ⏎ next" in out


STUDY = 'name = "s"\ntargets = ["testbed-llama"]\nsparsities = [0.5]\npruners = ["magnitude"]\n'


def test_records_and_plans_from_before_are_read(tmp_path: Path) -> None:
    """A score without the new fields loads, and a study whose settings lack the new keys goes on."""
    described = parse(STUDY, "test")
    old = {key: value for key, value in described.settings.items() if key not in ("kl", "text", "text_tokens")}
    cell = Cell("testbed-llama", "0.5", "magnitude")
    with Store(tmp_path / "results.sqlite") as store:
        store.save_plan(Plan("s", STUDY, old, "docker", (cell,)))
        store.add_score(cell, fake_score())
        record = asdict(fake_score())
        for name in ("kl_divergence", "text", "window_losses"):
            record.pop(name)
        store.connection.execute("UPDATE score SET record = ?", (json.dumps(record),))
        assert (store.scores()[0].kl_divergence, store.scores()[0].text) == (None, None)
        digest = "0" * 64
        store.save_plan(Plan("s", STUDY, old, "docker", (Cell(*cell.key, digest),)))
        with pytest.raises(UsageError, match="another kl"):
            run_study(parse(STUDY + "kl = true\n", "test"), store, FakeLab().open_bench)
        with pytest.raises(UsageError, match="new code"):  # the settings were accepted, the made-up code was not
            run_study(described, store, FakeLab().open_bench)


def test_a_study_asks_for_more(tmp_path: Path) -> None:
    lab = FakeLab()
    with Store(tmp_path / "results.sqlite") as store:
        run_study(parse(STUDY + 'kl = true\ntext = "A"\ntext_tokens = 5\n', "test"), store, lab.open_bench)
    asked = {key: lab.opened[0][1][key] for key in ("kl", "text", "text_tokens")}
    assert asked == {"kl": True, "text": "A", "text_tokens": 5}


def test_logits_that_overflow_give_no_divergence() -> None:
    assert metrics.finite_mean([1.0, float("inf")]) is None
    assert metrics.finite_mean([1.0, 2.0]) == np.mean([1.0, 2.0])
