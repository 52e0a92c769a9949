"""`harness verify-literature`: figures of tiny models against an independent computation, and files that are wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from harness import verification
from harness.errors import HarnessError, UsageError
from harness.literature import load, select
from harness.resources import bundled
from harness.text import _token_file
from harness.verification import judged

from .test_run_command import command  # noqa: F401 - a fixture

HEAD = """
[protocols.here]
evaluation = "tokens:ids.npy"
calibration = "tokens:ids.npy"
[models.tiny]
target = {target}
disk_gib = 1
memory_gib = 0.5
timeout_seconds = 60
[sources]
made = "made up for a test"
[reasons]
none = "nothing at all"
"""
FIGURE = """
[[figures]]
model = "{model}"
method = "{method}"
sparsity = "{sparsity}"
perplexity = {perplexity}
protocol = "here"
tolerance = {tolerance}
why = "none"
source = "made"
"""


def magnitude_perplexity(folder: Path, ids: np.ndarray, ratio: float) -> float:
    """Of a model whose linear layers lose their smallest weights, in float64 on the whole model."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and ".layers." in name:
            smallest = module.weight.abs().flatten().argsort()[: int(module.weight.numel() * ratio)]
            module.weight.data.view(-1)[smallest] = 0
    with torch.no_grad():
        losses = [model(input_ids=w[None], labels=w[None]).loss.item() for w in torch.from_numpy(ids)]
    return math.exp(sum(losses) / len(losses))


@pytest.fixture
def file(tmp_path: Path, llama: Path) -> Callable[..., Path]:
    """Writes a file of figures (method, sparsity, perplexity, tolerance) of the tiny Llama."""
    np.save(tmp_path / "ids.npy", np.random.default_rng(0).integers(0, 96, (6, 16)))

    def write(*figures: tuple[str, str, float, float], head: str = HEAD, more: str = "") -> Path:
        text = head.format(target=json.dumps(str(llama)))
        for method, sparsity, perplexity, tolerance in figures:
            text += FIGURE.format(
                model="tiny", method=method, sparsity=sparsity, perplexity=perplexity, tolerance=tolerance
            )
        path = tmp_path / "figures.toml"
        path.write_text(text + more)
        return path

    return write


def test_what_agrees_and_what_differs(
    command: Callable[..., tuple[int, str, str]],  # noqa: F811
    file: Callable[..., Path],
    llama: Path,
    tmp_path: Path,
) -> None:
    ids = np.load(file().parent / "ids.npy")
    dense, half = (magnitude_perplexity(llama, ids, ratio) for ratio in (0.0, 0.5))
    figures = [("dense", "0", dense, 1e-4), ("magnitude", "0.5", half, 1e-4), ("magnitude", "0.5", half * 1.2, 0.1)]
    path = file(*figures, more=FIGURE.format(
        model="tiny", method="magnitude", sparsity="0.5", perplexity=1.0, tolerance=0.1
    ) + "checked = false\n")  # fmt: skip
    out = tmp_path / "out.json"
    status, shown, _ = command("--quiet", "verify-literature", "--file", str(path), "--json", str(out))
    records = json.loads(out.read_text())
    assert [record["verdict"] for record in records] == ["agrees", "agrees", "differs", "not judged"]
    assert status == 1
    assert records[1]["measured"] == records[2]["measured"] == pytest.approx(half, rel=1e-5)
    assert records[2]["difference"] == pytest.approx(1 / 1.2 - 1, abs=1e-5)
    assert {record["source"] for record in records} == {"made up for a test"}
    assert "-16.7%" in shown
    assert "made up for a test" in shown
    assert max(len(line) for line in shown.splitlines()[:5]) <= 80
    only = ("--methods", "dense", "--file", str(path))
    assert command("--quiet", "verify-literature", *only)[0] == 0


def test_without_the_hub_its_figures_are_not_run(
    command: Callable[..., tuple[int, str, str]],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("no_proxy", "*")
    verification._hub_problem.cache_clear()
    status, out, _ = command("--quiet", "verify-literature", "--models", "OPT 125M,llama-7b", "--json", "-")
    verification._hub_problem.cache_clear()
    records = json.loads(out)
    assert status == 0
    assert {record["model"] for record in records} == {"opt-125m", "llama-7b"}
    assert {record["reason"] for record in records} == {"the hub cannot be reached"}
    assert {(record["verdict"], record["measured"]) for record in records} == {("not run", None)}


def test_a_machine_that_is_too_small_says_so(
    command: Callable[..., tuple[int, str, str]],  # noqa: F811
    file: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verification, "available_memory", lambda: 1 << 28)
    path = file(("dense", "0", 90.0, 0.1))
    status, out, _ = command("--quiet", "verify-literature", "--file", str(path), "--json", "-")
    assert status == 0
    assert json.loads(out)[0]["reason"] == "0.5 GiB of memory are needed, 0.2 are free"


def test_a_pruner_that_fails_differs_but_limits_say_nothing(file: Callable[..., Path]) -> None:
    figure = load(file(("wanda", "0.5", 90.0, 0.1)))[0]
    assert judged(figure, None, "RUNTIME_ERROR: no").verdict == "differs"
    assert judged(figure, None, "TIMEOUT: it ran for 60 s").verdict == "not run"
    assert judged(figure, None, "INFRA_STORAGE: no room").verdict == "not run"
    assert judged(figure, 98.9, None).verdict == "agrees"
    assert judged(figure, 99.1, None).verdict == "differs"
    assert judged(figure, 80.9, None).verdict == "differs"


def test_the_bundled_figures_are_sound() -> None:
    figures = load()
    assert {figure.model.name for figure in figures} == {"smollm2-135m", "opt-125m", "opt-1.3b", "llama-7b"}
    assert {figure.method for figure in figures} == {"dense", "magnitude", "wanda", "sparsegpt"}
    by_name = {(f.model.name, f.method, f.sparsity.label): f.perplexity for f in figures if f.checked}
    assert by_name["llama-7b", "dense", "0"] == 5.68
    assert by_name["opt-125m", "dense", "0"] == 27.66
    assert by_name["opt-1.3b", "dense", "0"] == 14.62
    for figure in figures:
        assert len(figure.source) > 20, figure
        assert len(figure.why) > 20, figure
        for text in (figure.protocol.evaluation, figure.protocol.calibration):
            kind, _, path = text.partition(":")
            if kind == "tokens":
                ids = _token_file(Path(path))
                assert ids.dtype == np.int32
                assert ids.shape == (32, 512)
    assert bundled("reference/README.md").is_file()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[[figures]]", "[[figure", "not valid TOML"),
        ("[[figures]]", "[[others]]", "no [[figures]]"),
        ('model = "tiny"', 'model = "huge"', "'huge' is not described"),
        ('protocol = "here"', "", "None is not described"),
        ("perplexity = 90.0", "", "'perplexity' is missing"),
        ("perplexity = 90.0", 'perplexity = "90"', "'perplexity' must be a float"),
        ("perplexity = 90.0", "perplexity = nan", "'perplexity' must be a float"),
        ("perplexity = 90.0", "perplexity = -1", "above 0"),
        ('why = "none"', 'whi = "none"', "unknown key 'whi'"),
        ('sparsity = "0.5"', 'sparsity = "2"', "below 1"),
        ('sparsity = "0.5"', 'sparsity = "0"', "dense where the sparsity is 0"),
        ("disk_gib = 1", "", "'disk_gib' is missing"),
        ("[sources]", "[[sources]]", "[sources] must be a table"),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_one_line(old: str, new: str, words: str, file: Callable[..., Path]) -> None:
    path = file(("wanda", "0.5", 90.0, 0.1))
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(HarnessError) as refused:
        load(path)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)


def test_names_that_fit_nothing_are_refused() -> None:
    figures = load()
    with pytest.raises(UsageError, match=r"model 'opt-124m'\. Did you mean 'opt-125m'"):
        select(figures, ["opt-124m"])
    with pytest.raises(UsageError, match="The methods are dense"):
        select(figures, [], ["xyz"])
    assert {figure.model.name for figure in select(figures, ["LLaMA 7B"])} == {"llama-7b"}


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="cannot be read"):
        load(tmp_path / "none.toml")
