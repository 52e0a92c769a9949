"""The flow from a pruner to its score, put together: `open_bench` gives a `Bench` that takes pruners."""

from __future__ import annotations

import os
from contextlib import suppress

import torch

from harness import console
from harness.bench import Bench
from harness.conversion import open_target
from harness.devices import check_device
from harness.errors import UsageError
from harness.estimate import estimated
from harness.records import Limits
from harness.sandboxes import open_sandbox
from harness.stages.continuation import TEXT_TOKENS, TextPrompt
from harness.stages.sandbox_run import SandboxRuns
from harness.text import prompt_ids, windows

DTYPES = ("float32", "bfloat16")
"""What a model may compute in; losses, statistics and weights are float32 in any case."""


def open_bench(
    target: str,
    *,
    calibration: str = "bundled",
    calibration_samples: int | None = None,
    evaluation: str = "bundled",
    eval_windows: int | None = None,
    seqlen: int | None = None,
    statistics: str = "sequential",
    sandbox: str = "auto",
    runtime: str | None = None,
    timeout_seconds: float | None = None,
    memory_bytes: int | None = None,
    seed: int = 0,
    kl: bool = False,
    text: str | None = None,
    text_tokens: int = TEXT_TOKENS,
    rounds: int = 1,
    dtype: str = "float32",
    device: str = "cpu",
    threads: int | None = None,
) -> Bench:
    """Open a target, its texts and a sandbox; None takes the target's own default.

    With `kl`, scores hold the divergence from the dense model; with `text`, how the pruned model goes on from that
    prompt for `text_tokens` tokens. With more than one of `rounds`, pruners are called that often at rising sparsity
    (see `harness.schedule`). `dtype` is what the model computes in, `device` where: with
    `cuda`, the GPU holds one block at a time, and pruners' tensors. `threads` are those of a pruner, and of torch in
    this process; None is as many as it has processors.

    Raises:
        UsageError: an argument that does not fit, or too low a memory limit for any pruner.
        Fault: something cannot be read, no sandbox works here, or the machine lacks the memory or the disk.
    """
    if statistics not in ("sequential", "dense"):
        raise UsageError(f"statistics {statistics!r}: give sequential or dense")
    if rounds < 1:
        raise UsageError(f"rounds {rounds}: give 1 for one shot, or more for a gradual schedule")
    if dtype not in DTYPES:
        raise UsageError(f"dtype {dtype!r}: give {' or '.join(DTYPES)}")
    check_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    opened = open_target(target)
    prompt = None if text is None else TextPrompt(prompt_ids(text, opened, text_tokens), text_tokens)
    default = Limits()
    limits = Limits(
        timeout_seconds=timeout_seconds or default.timeout_seconds,
        memory_bytes=memory_bytes or default.memory_bytes,
        processes=default.processes,
        threads=threads or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1),
        device=device,
    )
    runs = SandboxRuns(open_sandbox(sandbox, runtime), limits)
    try:
        taken = 0
        if statistics == "sequential":  # what a run on dense statistics is shown depends on its pruner
            with suppress(OSError):  # a disk without room is told of below, with what all of it takes
                taken = runs.prepare(opened)
        calibrated = windows(calibration, "calibration", opened, seqlen, calibration_samples, seed)
        evaluated = windows(evaluation, "evaluation", opened, seqlen, eval_windows, seed)
        shapes = (calibrated.ids.shape, evaluated.ids.shape)
        estimate = estimated(opened, *shapes, limits.threads, kl=kl, text=text is not None, rounds=rounds)
        estimate.check(limits, taken)
    except BaseException:
        runs.close()
        raise
    console.notice(estimate.line(limits))
    protocol = (kl, prompt, rounds, dtype, device)
    return Bench(opened, calibrated, evaluated, statistics, runs.sandbox, limits, seed, *protocol, runs)
