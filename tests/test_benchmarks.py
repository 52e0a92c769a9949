"""The programs in benchmarks/: that they run on a tiny model, and that the floor counts what a model computes."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, LlamaConfig

from benchmarks import (
    kills_asking,
    memory,
    official,
    process,
    random_model,
    results,
    sandbox,
    speed,
    statistics,
    sweep,
)
from benchmarks.floor import Floor, Product
from harness.conversion import open_target

from .conftest import VOCABULARY

PROGRAMS = (
    *(
        "calibration",
        "kills",
        "kills_asking",
        "memory",
        "official",
        "results",
        "sandbox",
        "speed",
        "statistics",
        "sweep",
    ),
)
SEQLEN = 16


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements are made here and not in new processes, which take seconds to start."""

    def fresh(call: str, arguments: dict[str, Any], threads: int) -> dict[str, Any]:
        module, _, function = call.partition(":")
        found = getattr(importlib.import_module(module), function)(**json.loads(json.dumps(arguments)))
        return {**found, "peak_bytes": threads << 20}

    for module in (memory, statistics, sweep):
        monkeypatch.setattr(module, "fresh", fresh)


@pytest.fixture
def inputs(llama: Path, tokens: str) -> list[str]:
    file = tokens.removeprefix("tokens:")
    return ["--model", str(llama), "--calibration", file, "--evaluation", file, "--threads", "1"]


def rows(printed: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line[:1] == "|"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_help(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        importlib.import_module(f"benchmarks.{program}").main(["--help"])
    assert left.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_the_floor_counts_what_the_model_computes(llama: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(llama, attn_implementation="eager", dtype=torch.float32)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(6, SEQLEN, dtype=torch.long), use_cache=False)
    counts = {name: sum(found.values()) for name, found in counter.get_flop_counts().items()}
    rotary = sum(count for name, count in counts.items() if name.endswith("rotary_emb"))
    floor = Floor(open_target(str(llama)), batch_tokens=2 * SEQLEN)
    assert total(floor.scoring(6, SEQLEN)) == counts["Global"] - rotary
    blocks = [counts[f"LlamaForCausalLM.model.layers.{block}"] for block in range(3)]
    ends = sum(counts[f"LlamaForCausalLM.model.layers.{block}.mlp.down_proj"] for block in range(3))
    assert total(floor.pruning(6, SEQLEN)) == sum(blocks) - ends + sum(blocks[:2])


def test_the_floor_of_sparsegpt(llama: Path) -> None:
    floor = Floor(open_target(str(llama)), batch_tokens=2 * SEQLEN)
    assert floor.inputs == [16, 16, 16, 40] * 3  # of q, k, v; of o; of gate, up; of down
    assert total(floor.hessians(6, SEQLEN)) == 2 * 6 * SEQLEN * 3 * (3 * 16**2 + 40**2)
    assert floor.updates() == []  # no layer is wider than a column block
    assert floor.factorisations() > 0
    product = Product(3, 8, 16, 32, share=0.5)
    assert floor.seconds([product]) == pytest.approx(floor.seconds([Product(1, 8, 16, 32)]) * 1.5)  # timed once


def total(products: list[Product]) -> float:
    return sum(product.flops for product in products)


def test_the_old_code_sees_the_models_own_blocks(llama: Path) -> None:
    model = official.load(str(llama), "float32", SEQLEN)
    ids = torch.arange(SEQLEN)[None] % VOCABULARY
    with torch.no_grad():
        expected = model(ids).logits
        with official.no_gpu(), official.wrapped(model, ids):
            hidden = model.model.embed_tokens(ids).cuda()
            for layer in model.model.layers:
                hidden = layer(hidden, attention_mask="whatever", position_ids=None)[0]
        assert torch.allclose(model.lm_head(model.model.norm(hidden)), expected, atol=1e-5)
        assert torch.equal(model(ids).logits, expected)  # and all is as it was


def test_a_checkout_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"--wanda.*give the folder of a checkout"):
        official.imported("lib.prune", str(tmp_path))
    with pytest.raises(SystemExit, match="--sparsegpt : give the folder"):
        official.imported("llama", None)


def test_the_peak_of_a_child() -> None:
    with process.peak_of_children() as peak:
        program = "import time; held = bytearray(b'x' * (150 << 20)); time.sleep(0.3)"
        subprocess.run([sys.executable, "-c", program], check=True)
    assert 150 << 20 < peak.bytes < 400 << 20


def test_speed_in_a_fresh_process(inputs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    speed.main([*inputs, "--methods", "magnitude", "--runs", "1"])
    printed = rows(capsys.readouterr().out)
    assert tuple(printed[0]) == speed.COLUMNS
    name, prune, official_prune, *_, perplexity, official_perplexity, peak, official_peak = printed[2]
    assert (name, official_prune, official_perplexity, official_peak) == ("magnitude", "", "", "")
    assert float(prune) < 60 < float(perplexity)
    assert float(peak) > 50
    assert [row[0] for row in printed[5:]] == ["prune, wanda", "prune, sparsegpt", "score"]


@pytest.mark.usefixtures("in_process")
def test_sweep(inputs: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "METHODS", ("magnitude",))
    sweep.main([*inputs, "--levels", "0.5"])
    out = capsys.readouterr().out
    assert "measured at 0.5 alone, and scaled by 13.00" in out
    assert [row[:3] for row in rows(out)[6:]] == [["magnitude", "0.5", "OK"], ["movement", "0.5", "OK"]]
    with pytest.raises(SystemExit):
        sweep.main([*inputs, "--levels", "0.55"])


@pytest.mark.usefixtures("in_process")
def test_statistics(inputs: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "SALIENCIES", {"diagonal": statistics.SALIENCIES["diagonal"]})
    statistics.main([*inputs, "--runs", "1"])
    printed = rows(capsys.readouterr().out)
    assert [row[0] for row in printed[2:]] == ["sequential", "dense", "dense / sequential"]
    ratio = float(printed[3][-1]) / float(printed[2][-1])
    assert float(printed[4][-1]) == pytest.approx(ratio, abs=0.01)


def test_results(capsys: pytest.CaptureFixture[str]) -> None:
    results.main(["--results", "200", "--pruners", "20", "--runs", "2", "--pages"])
    out = capsys.readouterr().out
    assert out.startswith("200 results: 20 pruners, 10 sparsities, 1 targets, 40 windows; 2 runs")
    found = rows(out)
    assert [row[0] for row in found[2:]] == ["report --no-pages", "study run", "report"]
    assert all(float(row[2]) > 0 for row in found[2:])
    assert float(found[4][3]) > float(found[2][3]) > 0, "pages are more"


@pytest.mark.docker
def test_sandbox(capsys: pytest.CaptureFixture[str]) -> None:
    sandbox.main(["times", "--targets", "testbed-llama", "--pruners", "magnitude", "--runs", "1"])
    (_, _, found) = rows(capsys.readouterr().out)
    assert found[0] == "magnitude"
    _, first, _, cold, _, _, warm = (float(cell) for cell in found[1:8])
    assert min(first, cold, warm) > 0
    assert max(first, warm) < cold, "a container that waited is sooner done than one that must start"


@pytest.mark.usefixtures("in_process")
def test_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", "")  # which the program sets, and which is put back afterwards
    sizes = {"hidden": 32, "intermediate": 48, "blocks": 2, "heads": 2, "vocabulary": 64, "seqlen": 8}
    given = [f"--{name}={size}" for name, size in sizes.items()]
    memory.main([str(tmp_path), *given, "--sandbox", "trusted", "--methods", "magnitude"])
    printed = rows(capsys.readouterr().out)
    assert printed[2][:2] == ["magnitude", "OK"]
    target = open_target(str(tmp_path))
    assert sum(layer.size for layer in target.layers) == 2 * (4 * 32 * 32 + 3 * 32 * 48)
    config = target.checkpoint.config
    assert isinstance(config, LlamaConfig)
    assert config.num_attention_heads == 2
    with pytest.raises(ValueError, match="a model of other sizes"):
        random_model.make(tmp_path, **sizes | {"blocks": 3})
    assert np.load(tmp_path / "tokens.npy").shape == (2, 8)


def test_a_study_that_is_killed_while_it_asks_loses_no_answer(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        kills_asking.main(["--kills", "8", "--samples", "2", "--delay", "0.3"])
    kills, runs, attempts, requests, received, _, lost, doubled = rows(capsys.readouterr().out)[-1]
    assert (kills, attempts, received, lost, doubled) == ("8", "20", "20", "0", "0")
    assert int(runs) >= 9
    assert int(requests) >= 20
    assert left.value.code == 0
