"""What a run takes is foreseen, and what cannot fit is refused before anything runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest

from harness.conversion import local
from harness.errors import InputFault, StorageFault, UsageError
from harness.estimate import Cost, Estimate, available_memory, estimated
from harness.records import Limits
from harness.resources import resource, sandbox_package
from harness.shapes import Shapes
from harness.targets import Target
from sandbox.layout import Layout
from tests.conftest import SAVED, llama_config, open_trusted

WINDOWS = (16, 128)
MIB, GIB = 1 << 20, 1 << 30
FITS = Estimate("tiny", Cost(GIB // 4, 2), Cost(GIB // 2, 4), Cost(GIB, 130), Cost(GIB // 2, 1), 1000)
ENOUGH = Limits(memory_bytes=2 * GIB)
_WORKER = """
import os, pathlib, re, sys
from sandbox.worker import run
code = run(pathlib.Path(sys.argv[1], "job.json"), pathlib.Path(sys.argv[1], "out"))
print(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
sys.exit(code)
"""


@pytest.fixture(scope="module")
def middle(save_model: SAVED) -> Target:
    config = llama_config(
        hidden_size=512, intermediate_size=1536, num_hidden_layers=4, max_position_embeddings=128, vocab_size=8000
    )
    return local("middle", save_model(config))


def peak_bytes(target: Target, pruner: str, folder: Path, threads: int) -> int:
    """What the worker had in memory at most, in a process of its own, with the pages of its files."""
    job = {
        "sparsities": [{"ratio": 0.5, "n": None, "m": None}],
        "statistics": "sequential",
        "dtype": "float32",
        "device": "cpu",
        "seed": 0,
        "threads": threads,
        "layers": [astuple(layer) for layer in target.layers],
    }
    (folder / "job.json").write_text(json.dumps(job))
    (folder / "pruner.py").write_bytes((resource("reference_pruners") / f"{pruner}.py").read_bytes())
    np.save(folder / "calibration.npy", np.random.default_rng(0).integers(0, 8000, WINDOWS))
    (folder / "model").symlink_to(target.folder)
    (folder / "out").mkdir()
    with (folder / "out" / "weights").open("wb") as file:
        file.truncate(Layout(target.layers).total_bytes)
    done = subprocess.run(
        [sys.executable, "-c", _WORKER, str(folder)], cwd=sandbox_package().parent, capture_output=True, check=True
    )
    return int(done.stdout) << 10


@pytest.mark.skipif(available_memory() is None, reason="peak memory is read from /proc")
@pytest.mark.parametrize(("pruner", "kind"), [("magnitude", "weights"), ("wanda", "norms"), ("sparsegpt", "hessians")])
def test_memory_is_that_of_a_real_run(middle: Target, tmp_path: Path, pruner: str, kind: str) -> None:
    cost: Cost = getattr(estimated(middle, WINDOWS, WINDOWS, 1), kind)
    peak = peak_bytes(middle, pruner, tmp_path, 1)
    mapped = sum(file.stat().st_size for file in middle.model_files) + Layout(middle.layers).total_bytes
    assert peak - mapped <= cost.memory_bytes <= 3 * peak


def test_shapes_of_a_llama(middle: Target) -> None:
    """Counted by hand; query, key and value share an input, as gate and up do."""
    shapes = Shapes.of(middle)
    attention, mlp = 2 * 512 * 512 + 2 * 512 * 256, 3 * 512 * 1536
    assert shapes.block == attention + mlp + 2 * 512
    assert shapes.around == 8000 * 512 + 512  # tied: once
    assert shapes.parameters == shapes.around + 4 * shapes.block
    assert shapes.grams == 3 * 512**2 + 1536**2
    assert (shapes.largest_gram, shapes.all_grams) == (1536**2, 4 * shapes.grams)
    assert (shapes.hidden, shapes.vocabulary, shapes.copies) == (512, 8000, 2)


def test_what_is_asked_for_more_takes_more(middle: Target) -> None:
    plain = estimated(middle, WINDOWS, WINDOWS, 2)
    more = estimated(middle, WINDOWS, WINDOWS, 2, kl=True, text=True, rounds=8)
    assert more.scoring.memory_bytes - plain.scoring.memory_bytes >= 4 * 16 * 128 * 512
    assert more.weights.seconds > plain.weights.seconds
    assert plain.weights.memory_bytes < plain.norms.memory_bytes < plain.hessians.memory_bytes
    assert 0 < plain.weights.seconds < plain.norms.seconds < plain.hessians.seconds
    assert plain.disk_bytes >= Layout(middle.layers).total_bytes + 8 * 16 * 128
    twice = estimated(middle, (32, 128), (32, 128), 2)
    states = 4 * 16 * 128 * 512
    assert twice.norms.memory_bytes - plain.norms.memory_bytes == 2 * states  # in and out
    assert twice.scoring.memory_bytes - plain.scoring.memory_bytes == states


def test_a_file_that_the_sandbox_cannot_read_is_copied(llama: Path) -> None:
    target = local("tiny", llama)
    weights = llama / "model.safetensors"
    mode = weights.stat().st_mode
    sizes = []
    try:
        for others in (0o004, 0):
            weights.chmod(mode & ~0o004 | others)
            sizes.append(estimated(target, (1, 8), (1, 8), 1).disk_bytes)
    finally:
        weights.chmod(mode)
    assert sizes[1] - sizes[0] == weights.stat().st_size


def test_the_line() -> None:
    assert FITS.line(ENOUGH) == (
        "tiny: pruning about 2 s and 0.25 GiB (weights only) to 2 min and 1.0 GiB (Hessians) a pruner,"
        " scoring about 1 s and 0.5 GiB, 0.01 GiB of disk"
    )
    low = FITS.line(replace(ENOUGH, memory_bytes=300 * MIB))
    assert low.startswith(FITS.line(ENOUGH))
    assert low.endswith("; the memory limit of 0.29 GiB may be too low for input norms and Hessians: raise it to 1024M")


def test_what_fits_is_not_refused() -> None:
    FITS.check(ENOUGH)
    FITS.check(replace(ENOUGH, memory_bytes=GIB // 4))  # a warning in the line is enough


def test_too_low_a_memory_limit_is_refused() -> None:
    with pytest.raises(UsageError, match=r"0\.24 GiB is not enough to prune tiny: give 256M .*, 1024M for all kinds$"):
        FITS.check(replace(ENOUGH, memory_bytes=250 * MIB))


def test_too_full_a_disk_is_refused() -> None:
    with pytest.raises(StorageFault, match=r"a run on tiny takes .* of disk, and .* make room, or set HARNESS_CACHE"):
        replace(FITS, disk_bytes=1 << 60).check(ENOUGH)


@pytest.mark.skipif(available_memory() is None, reason="no /proc/meminfo")
@pytest.mark.parametrize(("field", "what"), [("weights", "prune"), ("scoring", "score")])
def test_too_small_a_machine_is_refused(field: str, what: str) -> None:
    huge = replace(FITS, **{field: Cost(1 << 50, 1)})  # type: ignore[arg-type]
    with pytest.raises(InputFault, match=rf"to {what} tiny takes about 10485\d\d\.\d GiB of memory, and .* are free"):
        huge.check(replace(ENOUGH, memory_bytes=1 << 51))


def test_opening_a_bench_says_it_once_and_refuses(llama: Path, tokens: str, capsys: pytest.CaptureFixture[str]) -> None:
    open_trusted(str(llama), calibration=tokens, evaluation=tokens)
    captured = capsys.readouterr()
    said = [line for line in captured.err.splitlines() if "(weights only)" in line]
    assert len(said) == 1
    assert re.fullmatch(rf"{llama}: pruning about \d+ s and 0\.\d+ GiB .* of disk", said[0])
    assert captured.out == ""
    with pytest.raises(UsageError, match="memory limit"):
        open_trusted(str(llama), calibration=tokens, evaluation=tokens, memory_bytes=128 * MIB)
