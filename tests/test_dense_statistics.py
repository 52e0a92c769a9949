"""Statistics of the dense model that the host computes once: the same numbers, and no forward pass in the run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.bench import Bench
from harness.dense_statistics import known_statistics
from harness.pruners import find
from harness.records import Sparsity
from sandbox.statistics import KNOWN

from .conftest import open_trusted, pruner

KINDS = {"norm", "hessian"}


@pytest.fixture(scope="module")
def dense(llama: Path, tokens: str) -> Bench:
    return open_trusted(str(llama), calibration=tokens, evaluation=tokens, statistics="dense")


def known_files(bench: Bench, source: bytes) -> dict[str, Path]:
    return known_statistics(bench.target, bench.target.checkpoint, bench.calibration.ids, torch.float32, source)


@pytest.mark.parametrize(
    ("source", "kinds"),
    [("layer.weight.abs()", set()), ("layer.input_norm", {"norm"}), ("layer.hessian", {"hessian"}),
     ("layer.input_norm, layer.hessian", KINDS)],
)  # fmt: skip
def test_what_the_source_names_is_computed(dense: Bench, source: str, kinds: set[str]) -> None:
    files = known_files(dense, source.encode())
    assert set(files) == {KNOWN.format(kind=kind) for kind in kinds}
    assert all(path.is_file() for path in files.values())


@pytest.mark.parametrize("name", ["wanda", "sparsegpt"])
def test_a_run_gives_the_same_with_and_without_what_is_known(
    dense: Bench, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_known = dense.score(find(name), Sparsity.parse("0.5"))
    monkeypatch.setattr("harness.bench.known_statistics", lambda *_: {})
    without = dense.score(find(name), Sparsity.parse("0.5"))
    assert with_known.status == without.status == "OK"
    assert with_known.perplexity == pytest.approx(without.perplexity, rel=1e-6)


def test_a_pruner_that_hides_what_it_asks_for_gets_it_all_the_same(dense: Bench) -> None:
    source = """
def prune(task):
    for layer in task.layers():
        norm = getattr(layer, "input" + "_norm")
        assert norm.shape == layer.weight.shape[1:] and bool((norm > 0).any())
        layer.weight = layer.weight * 0
"""
    assert dense.score(pruner(source), Sparsity.parse("0.5")).error is None


def test_known_norms_and_hessians_belong_together(dense: Bench) -> None:
    from safetensors import safe_open

    files = known_files(dense, b"input_norm hessian")
    with safe_open(files["norm.safetensors"], "pt") as norms, safe_open(files["hessian.safetensors"], "pt") as grams:
        names = norms.metadata()
        assert set(names) == {layer.name for layer in dense.target.layers}
        for layer in dense.target.layers:
            norm = norms.get_tensor(names[layer.name])
            gram = grams.get_tensor(grams.metadata()[layer.name])
            squares = gram.diagonal() * dense.calibration.ids.size
            torch.testing.assert_close(norm.square(), squares, rtol=1e-4, atol=1e-6)
            assert torch.equal(gram, gram.T)


def test_bfloat16_is_another_protocol_and_close_to_float32(llama: Path, tokens: str) -> None:
    benches = [
        open_trusted(str(llama), calibration=tokens, evaluation=tokens, dtype=d) for d in ("float32", "bfloat16")
    ]
    assert benches[0].measurement.id != benches[1].measurement.id
    assert benches[1].measurement.dtype == "bfloat16"
    assert benches[0].dense_perplexity != benches[1].dense_perplexity
    for name in ("wanda", "sparsegpt"):
        exact, rough = (bench.score(find(name), Sparsity.parse("0.5")) for bench in benches)
        assert exact.perplexity is not None
        assert rough.perplexity == pytest.approx(exact.perplexity, rel=0.02)
