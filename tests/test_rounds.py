"""Gradual pruning: the schedule, what a later round sees, and what is recorded of it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from harness import pruners
from harness import study as studies
from harness.bench import Bench
from harness.cli import main
from harness.errors import UsageError
from harness.records import Measurement, Sparsity
from harness.schedule import schedule
from harness.store import Store
from harness.study_run import run
from harness.testing.fake_bench import FakeLab
from sandbox import task as tasks
from sandbox.checkpoint import Checkpoint
from sandbox.layout import Layout, OutputFile
from sandbox.structure import layer_specs
from sandbox.task import PruningTask
from tests.forked_sandbox import ForkedSandbox

from .conftest import VOCABULARY, open_trusted, pruner

TELLS = """
import torch

def prune(task):
    task.note(f"asked for {task.sparsity.ratio:.6f}")
    for layer in task.layers():
        count = int(layer.weight.numel() * task.sparsity.ratio)
        order = layer.weight.abs().flatten().argsort()
        mask = torch.ones(layer.weight.numel(), dtype=torch.bool)
        mask[order[:count]] = False
        layer.keep(mask.reshape(layer.weight.shape))
"""


def labels(text: str, rounds: int) -> list[str]:
    return [sparsity.label for sparsity in schedule(Sparsity.parse(text), rounds)]


def test_ratios_rise_by_the_cubic_schedule() -> None:
    found = [sparsity.ratio for sparsity in schedule(Sparsity.parse("0.8"), 4)]
    assert found[:3] == pytest.approx([0.8 * 37 / 64, 0.8 * 56 / 64, 0.8 * 63 / 64])
    assert found[3] == 0.8
    structured = schedule(Sparsity.parse("heads:0.5"), 2)
    assert [(one.structure, one.ratio) for one in structured] == [("heads", 0.4375), ("heads", 0.5)]


def test_a_pattern_keeps_fewer_of_each_group_round_by_round() -> None:
    assert labels("2:4", 4) == ["3:4", "2:4"]
    assert labels("1:16", 3) == ["6:16", "2:16", "1:16"]  # 16 - 15 * 19/27 = 5.4, 16 - 15 * 26/27 = 1.6
    assert labels("1:2", 9) == ["1:2"]
    for n, m, rounds in ((5, 7, 5), (1, 100, 8), (3, 4, 2)):
        kept = [sparsity.n for sparsity in schedule(Sparsity(1 - n / m, n, m), rounds)]
        assert kept == sorted({number for number in kept if number}, reverse=True)
        assert kept[-1] == n


@pytest.mark.parametrize("text", ["0.5", "0", "2:4", "rows:0.3"])
def test_one_round_is_one_shot(text: str) -> None:
    assert schedule(Sparsity.parse(text), 1) == [Sparsity.parse(text)]
    assert schedule(Sparsity.parse("0"), 5) == [Sparsity.parse("0")]


def test_a_later_round_sees_the_model_as_it_is(llama: Path, tmp_path: Path) -> None:
    ids = torch.randint(0, VOCABULARY, (4, 12), generator=torch.Generator().manual_seed(5))
    checkpoint = Checkpoint(llama)
    layers = layer_specs(checkpoint)
    (tmp_path / "out").write_bytes(bytes(Layout(layers).total_bytes))
    output = OutputFile(str(tmp_path / "out"), Layout(layers))

    def task(ratio: float, earlier: PruningTask | None) -> PruningTask:
        return PruningTask(checkpoint, layers, output, ids, tasks.Sparsity(ratio, None, None), "sequential", 0, earlier)

    model = AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32).eval()
    first = task(0.3, None)
    held = []
    for layer in first.layers():
        _ = layer.grad, layer.input_norm
        layer.keep(layer.weight.abs() > layer.weight.abs().quantile(0.3))
        held.append(layer.weight)
        model.get_submodule(layer.name).weight.data = layer.weight.clone()
    first.finish()
    for weight in held:  # the round is over: this counts no more
        weight.zero_()
    for row in ids.split(1):
        logits = model(input_ids=row).logits[0]
        (cross_entropy(logits[:-1], row[0, 1:]) / len(ids)).backward()
    seen: dict[str, torch.Tensor] = {}
    for name, module in model.named_modules():
        module.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0]} if args else {}))
    with torch.no_grad():
        model(input_ids=ids)
    second = task(0.5, first)
    assert second.sparsity.ratio == 0.5
    for layer in second.layers():
        stored = model.get_submodule(layer.name).get_parameter("weight")
        assert torch.equal(layer.weight, stored)
        torch.testing.assert_close(layer.grad, stored.grad, rtol=1e-4, atol=1e-6)
        norm = seen[layer.name].reshape(-1, layer.weight.shape[1]).norm(dim=0)
        torch.testing.assert_close(layer.input_norm, norm, rtol=1e-4, atol=1e-5)
    assert torch.equal(second.model.get_parameter(f"{layer.name}.weight"), stored)


def test_the_pruner_is_called_once_a_round(llama: Path, tokens: str) -> None:
    bench = open_trusted(str(llama), calibration=tokens, evaluation=tokens, rounds=3)
    score = bench.score(pruner(TELLS), Sparsity.parse("0.5"))
    assert score.status == "OK", score.error
    assert score.notes == tuple(f"asked for {0.5 * share:.6f}" for share in (19 / 27, 26 / 27, 1))
    assert score.achieved_sparsity == pytest.approx(0.5, abs=0.01)


def test_an_error_of_a_later_round_is_the_pruners(llama: Path, tokens: str) -> None:
    bench = open_trusted(str(llama), calibration=tokens, evaluation=tokens, rounds=2)
    fails = TELLS.replace("def prune(task):", "def prune(task):\n    assert task.sparsity.ratio < 0.5")
    score = bench.score(pruner(fails), Sparsity.parse("0.5"))
    assert (score.status, score.notes) == ("RUNTIME_ERROR", ())


def test_the_rounds_are_part_of_the_protocol_where_there_are_several(llama_bench: Bench) -> None:
    one, three = llama_bench.measurement, replace(llama_bench, rounds=3).measurement
    assert (one.rounds, three.rounds) == (1, 3)
    keys = ("seqlen", "windows", "dtype", "statistics", "tokenizer_sha256", "evaluation_sha256", "calibration_samples",
            "calibration_sha256")  # fmt: skip
    facts = {key: asdict(one)[key] for key in keys}  # as before there were rounds
    for measurement, extra in ((one, {}), (three, {"rounds": 3})):
        digest = hashlib.sha256(json.dumps(facts | extra, sort_keys=True).encode()).hexdigest()
        assert measurement.id == f"ppl16x6-{digest[:12]}"


def test_rounds_are_shown_with_the_protocol_and_notes_below_the_table(
    llama: Path, tokens: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.pipeline.open_sandbox", lambda name, runtime=None: ForkedSandbox())
    (tmp_path / "tells.py").write_text(TELLS.replace("asked for", "\\x1b[31m[red]asked\\nfor"))
    arguments = [str(tmp_path / "tells.py"), "--target", str(llama), "--sparsity", "0.5", "--rounds", "2"]
    arguments += ["--calibration", tokens, "--eval", tokens, "--json", str(tmp_path / "out.json")]
    with pytest.raises(SystemExit) as stopped:
        main(["--quiet", "run", *arguments])
    out = capsys.readouterr().out
    assert not stopped.value.code
    assert "pruned in 2 rounds" in out
    assert "[red]asked for 0.437500" in out
    assert "\x1b" not in out
    assert "notes" not in json.loads((tmp_path / "out.json").read_text())[0]


@pytest.mark.parametrize("rounds", [0, -1])
def test_no_rounds_are_refused(rounds: int) -> None:
    with pytest.raises(UsageError, match="give 1 for one shot"):
        open_trusted("testbed-llama", rounds=rounds)


STUDY = 'name = "s"\ntargets = ["t"]\nsparsities = [0.5, "rows:0.25"]\npruners = ["magnitude"]\n'


def test_a_study_asks_for_rounds_and_older_results_have_one(tmp_path: Path) -> None:
    lab = FakeLab()
    path = tmp_path / "results.sqlite"
    with Store(path) as store:
        run(studies.parse(STUDY, "s"), store, lab.open_bench)
    assert lab.opened[0][1]["rounds"] == 1
    forget(path, "study", "settings", "rounds")
    forget(path, "measurement", "record", "rounds")
    forget(path, "score", "record", "notes")
    with Store(path) as store:
        run(studies.parse(STUDY, "s"), store, lab.open_bench)  # nothing has changed
        assert [score.notes for score in store.scores()] == [(), ()]
        assert [measurement.rounds for measurement in store.measurements().values()] == [1]
        with pytest.raises(UsageError, match="has results with another rounds"):
            run(studies.parse(STUDY + "rounds = 4\n", "s"), store, lab.open_bench)
    with Store(tmp_path / "other.sqlite") as store:
        run(studies.parse(STUDY + "rounds = 4\n", "s"), store, lab.open_bench)
        assert [measurement.rounds for measurement in store.measurements().values()] == [4]
    with pytest.raises(UsageError, match="rounds"):
        studies.parse(STUDY + "rounds = 0\n", "s")


def forget(path: Path, table: str, column: str, key: str) -> None:
    """Make the records those of a version that did not know `key` yet."""
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE {table} SET {column} = json_remove({column}, '$.{key}')")


NOISY = """
def prune(task):
    for number in range(30):
        task.note(chr(0x1F600) * 300 + str(number))
    for layer in task.layers():
        layer.weight = layer.weight * 0
"""


def test_notes_are_few_and_short(llama_bench: Bench) -> None:
    score = llama_bench.score(pruner(NOISY), Sparsity.parse("0.5"))
    assert score.status == "OK", score.error
    assert score.notes == (chr(0x1F600) * 200,) * 20
    wrong = llama_bench.score(pruner("def prune(task):\n    task.note(3)\n"), Sparsity.parse("0.5"))
    assert (wrong.status, wrong.notes) == ("RUNTIME_ERROR", ())


@pytest.mark.parametrize(
    ("forged", "read"),
    [
        ("'abc'", ()),
        ("[1, None, 'x' * 900, '', '\\ud800', ['y']] + ['z'] * 500", ("x" * 200, "?", *("z",) * 14)),
    ],
)
def test_forged_notes_are_bounded_texts(forged: str, read: tuple[str, ...], llama_bench: Bench) -> None:
    source = "def prune(task):\n    for layer in task.layers():\n        layer.weight = layer.weight * 0\n"
    source += f"    task.notes = {forged}\n"
    score = llama_bench.score(pruner(source), Sparsity.parse("0.5"))
    assert (score.status, score.notes) == ("OK", read)


def test_a_measurement_of_an_older_record_had_one_round() -> None:
    values = dict.fromkeys(Measurement.__dataclass_fields__, None)
    del values["rounds"]
    assert Measurement(**values).rounds == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "achieved"), [("random", 0.5), ("negative_magnitude", 0.98)])
def test_a_saliency_that_does_not_keep_zeros_prunes_more(name: str, achieved: float, llama: Path, tokens: str) -> None:
    bench = open_trusted(str(llama), calibration=tokens, evaluation=tokens, rounds=2)
    score = bench.score(pruners.find(name), Sparsity.parse("0.5"))
    assert score.achieved_sparsity == pytest.approx(achieved, abs=0.05)  # 0.4375 and then 0.5 of the others
