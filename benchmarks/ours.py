"""The harness's side of the comparisons: cells of one bench, pruned and scored as `harness run` does."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from benchmarks.process import peak_of_children
from harness import console, pruners
from harness.bench import Bench
from harness.pipeline import open_bench
from harness.records import Sandbox, Sparsity
from harness.sandboxes import open_sandbox
from harness.testing.trusted_sandbox import TrustedSandbox

SANDBOXES = ("trusted", "auto", "docker", "bubblewrap")
"""`trusted` is the worker in a child process without isolation; the others are those of `harness run`."""


def measure(names: Sequence[str], sparsities: Sequence[str], sandbox: str, **arguments: Any) -> dict[str, Any]:
    """Prune and score every pruner at every sparsity, one after the other.

    Args:
        names: pruners, as `harness.pruners.find` takes them.
        sparsities: as `Sparsity.parse` takes them.
        sandbox: one of `SANDBOXES`.
        arguments: of `harness.pipeline.open_bench`; None is left out.

    Returns:
        `seconds` of all cells without the dense model's own score, `opening_seconds` of reading the target and scoring
        it dense (cached from the second time on), and `cells`, one object a cell, with the peaks in bytes of the worker
        (`worker_peak`: of the sandbox's own count, or of the child process) and, once for all, of the scorer.
    """
    started = time.monotonic()
    bench = opened(sandbox, **arguments)
    _ = bench.dense_losses
    opening = time.monotonic() - started
    started = time.monotonic()
    cells = [cell(bench, name, sparsity) for sparsity in sparsities for name in names]
    return {"seconds": time.monotonic() - started, "opening_seconds": opening, "cells": cells}


def opened(sandbox: str, **arguments: Any) -> Bench:
    """A bench of the given sandbox, with the threads that this process was given."""
    given = {name: value for name, value in arguments.items() if value is not None}
    chosen: Sandbox = TrustedSandbox() if sandbox == "trusted" else open_sandbox(sandbox)
    bench = open_bench(sandbox="bubblewrap" if sandbox == "trusted" else sandbox, **given)
    return replace(bench, sandbox=chosen, limits=replace(bench.limits, threads=torch.get_num_threads()))


def cell(bench: Bench, name: str, sparsity: str) -> dict[str, Any]:
    """One pruner at one sparsity: status, perplexity, seconds and the peak of the worker."""
    with peak_of_children() as peak:
        score = bench.score(pruners.find(name), Sparsity.parse(sparsity))
    console.notice(f"{name} at {sparsity}: {score.status}" + (f", {score.error.message}" if score.error else ""))
    return {
        "pruner": score.pruner,
        "sparsity": score.sparsity,
        "status": score.status,
        "perplexity": score.perplexity,
        "dense_perplexity": score.dense_perplexity,
        "prune_seconds": score.prune_seconds,
        "score_seconds": score.score_seconds,
        "sandbox_seconds": score.sandbox_seconds,
        "worker_peak": score.peak_memory_bytes or peak.bytes or None,
        "isolation": score.isolation,
    }
