"""`harness export`: the folder against plain transformers, and what must leave nothing behind."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from markdown_it import MarkdownIt
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config

from harness import model_folder
from harness.bench import Bench
from harness.errors import ScorerFault, UsageError
from harness.export import check_folder, export
from harness.model_card import Export, markdown_text, model_card, yaml_text
from harness.pruners import find
from harness.records import Sparsity
from harness.resources import bundled
from harness.testing.fake_bench import FakeLab, fake_score

from .conftest import SAVED, llama_config, open_trusted, pruner
from .test_run_command import command, texts  # noqa: F401 - fixtures

HALF = Sparsity.parse("0.5")
COMPENSATES = "def prune(task):\n    for layer in task.layers():\n        layer.weight = layer.weight * 1.001\n" + (
    "        layer.keep(layer.weight.abs() > layer.weight.abs().median())\n"
)


def perplexity(folder: Path, bench: Bench) -> float:
    """As a user measures it: plain transformers, the dtype that the folder says, and float32 arithmetic."""
    model = AutoModelForCausalLM.from_pretrained(folder).float().eval()
    losses = []
    with torch.no_grad():
        for window in torch.from_numpy(bench.evaluation.ids):
            losses.append(model(input_ids=window[None], labels=window[None]).loss.item())
    return math.exp(sum(losses) / len(losses))


def zeros(folder: Path) -> float:
    model = AutoModelForCausalLM.from_pretrained(folder)
    weights = [m.weight for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and ".layers." in n]
    return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)


@pytest.mark.parametrize(("target", "source"), [("testbed-llama", "magnitude"), ("testbed-opt", COMPENSATES)])
def test_the_folder_is_the_measured_model(target: str, source: str, tokens: str, tmp_path: Path) -> None:
    bench = open_trusted(target, calibration=tokens, evaluation=tokens)
    into = tmp_path / "pruned"
    chosen = find(source) if "\n" not in source else pruner(source)
    exported = export(bench, chosen, HALF, into)
    assert exported.score.status == "OK", exported.score.error
    assert perplexity(into, bench) == pytest.approx(exported.score.perplexity, rel=1e-5)
    assert zeros(into) == exported.score.achieved_sparsity
    assert exported.dtype == ("float16" if source == "magnitude" else "float32")  # the testbeds are stored in float16
    assert json.loads((into / "config.json").read_text())["dtype"] == exported.dtype
    assert AutoTokenizer.from_pretrained(into)("a text").input_ids == (
        AutoTokenizer.from_pretrained(bundled("testbeds") / target)("a text").input_ids
    )
    index = json.loads((into / "model.safetensors.index.json").read_text())["weight_map"]
    stored = {name: load_file(into / file)[name] for name, file in index.items()}
    assert "lm_head.weight" not in index  # tied
    assert len(set(index.values())) == 1 + exported_blocks(into)
    assert {tensor.dtype for name, tensor in stored.items() if "norm" in name} == {torch.float16}
    assert [path.name for path in tmp_path.iterdir()] == ["pruned"]
    assert open_trusted(str(into), calibration=tokens, evaluation=tokens).dense_perplexity == exported.score.perplexity


def exported_blocks(folder: Path) -> int:
    return int(json.loads((folder / "config.json").read_text())["num_hidden_layers"])


def test_a_tied_weight_that_the_checkpoint_holds_twice_is_written_once(
    save_model: SAVED, tokens: str, tmp_path: Path
) -> None:
    twice = tmp_path / "twice"
    shutil.copytree(save_model(llama_config()), twice)
    tensors = load_file(twice / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, twice / "model.safetensors", metadata={"format": "pt"})
    bench = open_trusted(str(twice), calibration=tokens, evaluation=tokens)
    export(bench, find("magnitude"), HALF, tmp_path / "pruned")
    index = json.loads((tmp_path / "pruned/model.safetensors.index.json").read_text())["weight_map"]
    assert set(index) == set(tensors) - {"lm_head.weight"}


def test_transposed_weights_and_bfloat16_are_written_as_they_are_stored(
    save_model: SAVED, tokens: str, tmp_path: Path
) -> None:
    config = GPT2Config(vocab_size=96, n_embd=16, n_layer=2, n_head=2, n_positions=32, tie_word_embeddings=False)
    source = tmp_path / "source"
    AutoModelForCausalLM.from_pretrained(save_model(config)).to(torch.bfloat16).save_pretrained(source)  # type: ignore[arg-type]
    bench = open_trusted(str(source), calibration=tokens, evaluation=tokens)
    exported = export(bench, find("wanda"), HALF, tmp_path / "pruned")
    assert exported.dtype == "bfloat16"
    assert perplexity(tmp_path / "pruned", bench) == pytest.approx(exported.score.perplexity, rel=1e-5)
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "pruned")
    weight = model.transformer.h[1].mlp.c_fc.weight  # [in, out]
    assert ((weight == 0).sum(dim=0) == 8).all()  # Wanda prunes half of what enters each output
    assert model.lm_head.weight.dtype == torch.bfloat16


def test_generation_settings_go_along(llama: Path, tokens: str, tmp_path: Path) -> None:
    assert (llama / "generation_config.json").is_file()
    export(open_trusted(str(llama), calibration=tokens, evaluation=tokens), find("magnitude"), HALF, tmp_path / "p")
    assert (tmp_path / "p/generation_config.json").read_bytes() == (llama / "generation_config.json").read_bytes()


@pytest.mark.parametrize("broken", ["zeros", "values"])
def test_a_folder_that_is_not_what_was_measured_is_not_kept(
    broken: str, llama_bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(tensor: torch.Tensor, _dtype: torch.dtype) -> torch.Tensor:
        return (tensor + 1 if broken == "zeros" else tensor * 1.01).contiguous()

    monkeypatch.setattr(model_folder, "_exact", wrong)
    words = "has a sparsity of" if broken == "zeros" else "has perplexity"
    with pytest.raises(ScorerFault, match=words):
        export(llama_bench, find("magnitude"), HALF, tmp_path / "pruned")
    assert list(tmp_path.iterdir()) == []


def test_of_a_pruner_that_failed_nothing_is_written(
    command: Callable[..., tuple[int, str, str]],  # noqa: F811
    llama: Path,
    texts: tuple[str, ...],  # noqa: F811
    tmp_path: Path,
) -> None:
    arguments = ("bias", "--target", str(llama), "--sparsity", "0.5", "--into", str(tmp_path / "pruned"), *texts)
    status, out, err = command("--quiet", "export", *arguments, "--json", "-")
    assert status == 1
    assert err == "harness: bias at 0.5: NA; nothing was written\n"
    assert json.loads(out)[0]["status"] == "NA"
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_a_folder_and_its_record(
    command: Callable[..., tuple[int, str, str]],  # noqa: F811
    llama: Path,
    texts: tuple[str, ...],  # noqa: F811
    tmp_path: Path,
) -> None:
    (tmp_path / "pruned").mkdir()
    arguments = ("magnitude", "--target", str(llama), "--sparsity", "2:4", "--into", str(tmp_path / "pruned"), *texts)
    status, out, err = command("export", *arguments)
    assert status == 0
    assert "magnitude" in out
    assert "same zeros and perplexity" in err
    assert "2:4" in (tmp_path / "pruned/README.md").read_text()
    assert command("--quiet", "export", *arguments)[0] == 2  # no longer empty


def test_a_place_that_is_taken_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("")
    for name, words in {"file": "something already", "full": "something already", "no/such": "make it first"}.items():
        with pytest.raises(UsageError, match=words):
            check_folder(tmp_path / name)


HOSTILE = (
    'x" | <script>alert(1)</script> [a](http://e.vil) `b` ![i](//e.vil) www.e.vil *c* \x1b[31m\u202e\n---\nkey: 1 😀'
)


def test_a_card_shows_hostile_names_as_they_are() -> None:
    measurement = FakeLab().open_bench(HOSTILE).measurement
    card = model_card(Export(fake_score(HOSTILE, target=HOSTILE), measurement, "float32"))
    front = card.split("\n---\n")[0]
    assert front == '---\nlibrary_name: "transformers"\npipeline_tag: "text-generation"\ntags:\n- pruned\n- sparse'
    assert card.count("\n---\n") == 1
    html = MarkdownIt("gfm-like", {"linkify": False}).render(card.split("\n---\n", 1)[1])
    assert set(re.findall(r"<(\w+)", html)) <= {
        "h1",
        "h2",
        "p",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "pre",
        "code",
    }
    assert "&lt;script&gt;alert(1)&lt;/script&gt; [a](http://e.vil) `b`" in html
    assert "e.vil" not in card  # nothing that a renderer turns into a link
    assert "\x1b" not in card
    assert "\u202e" not in card


def test_yaml_text_is_one_quoted_scalar() -> None:
    assert yaml_text("org/name-1.5") == '"org/name-1.5"'
    assert yaml_text('a"\\: \n#😀') == '"a\\U00000022\\U0000005c: \\U00000023\\U0001f600"'
    assert markdown_text("0.5 of llama-7b") == "0.5 of llama-7b"
