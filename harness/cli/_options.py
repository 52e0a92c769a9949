"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

from harness import sizes
from harness.errors import UsageError

_TEXTS = "bundled, wikitext2, c4, text:FILE or tokens:FILE.npy"


def _memory(_ctx: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        size = sizes.read_size(text)
    except ValueError as error:
        raise UsageError(f"--memory: {error}; give {sizes.SYNTAX}") from None
    if not sizes.LEAST_MEMORY_BYTES <= size <= sizes.MOST_MEMORY_BYTES:
        raise UsageError(f"--memory {text[:60]!r}: give at least 128m, and less than 2**63 bytes, as in 4g")
    return size


_PROTOCOL = [
    click.option("--calibration", default="bundled", show_default=True,
                 help=f"{_TEXTS}; or random, tokens drawn at random, as a control."),
    click.option("--calibration-samples", type=click.IntRange(1), help="Calibration windows [the target's own]."),
    click.option("--eval", "evaluation", default="bundled", show_default=True, help=f"To measure on: {_TEXTS}."),
    click.option("--eval-windows", type=click.IntRange(1), help="Evaluation windows [the target's own]."),
    click.option("--seqlen", type=click.IntRange(2), help="Tokens a window [the target's own]."),
    click.option("--statistics", type=click.Choice(["sequential", "dense"]), default="sequential", show_default=True,
                 help="Inputs of the blocks as pruned so far, or of the dense model."),
    click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True,
                 help="What the model computes in; losses and weights are float32 in any case."),
    click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True,
                 help="Where it does, and where pruners' tensors are."),
    click.option("--rounds", type=click.IntRange(1, 1000), default=1, show_default=True,
                 help="Calls of a pruner, at a sparsity that rises to the target."),
]  # fmt: skip
_RUN = [
    click.option("--sandbox", type=click.Choice(["auto", "docker", "bubblewrap"]), default="auto", show_default=True,
                 help="Isolation; auto is docker where an engine answers."),
    click.option("--runtime", help="Container runtime, such as runsc (gVisor)."),
    click.option("--timeout", "timeout_seconds", type=click.FloatRange(1), help="Seconds for one pruner [900]."),
    click.option("--memory", "memory_bytes", callback=_memory,
                 help=f"Memory for one pruner: {sizes.SYNTAX} [4g]."),
    click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True),
]  # fmt: skip


def bench_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `harness.pipeline.open_bench`, under its parameters' names."""
    for option in reversed([*_PROTOCOL, *_RUN]):
        command = option(command)
    return command


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Those of the `bench_options` that say how pruners run, where the protocol is given otherwise."""
    for option in reversed(_RUN):
        command = option(command)
    return command


def _sbatch(_ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    options = {}
    for value in values:
        name, _, setting = value.partition("=")
        if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or not setting or not setting.isprintable():
            raise UsageError(f"--slurm-option {value!r}: give KEY=VALUE, as in time=4:00:00, of the options of sbatch")
        options[name] = setting
    return options


_EXECUTOR = [
    click.option("--executor", type=click.Choice(["local", "processes", "ray", "submitit"]), default="local",
                 show_default=True, help="Who runs the cells: this process, many, a Ray cluster, jobs of Slurm."),
    click.option("--workers", type=click.IntRange(1), help="How many at once."),
    click.option("--cpus-per-task", type=click.IntRange(1),
                 help="Processors, and threads of a run, for each worker [those of this machine]."),
    click.option("--ray-address", help="Of a Ray cluster; without it, one is started here."),
    click.option("--cluster", type=click.Choice(["slurm", "local"]), help="Of submitit; local is for a try [slurm]."),
    click.option("--slurm-partition", metavar="NAME", help="As sbatch takes it."),
    click.option("--slurm-option", "sbatch", metavar="KEY=VALUE", multiple=True, callback=_sbatch,
                 help="Any other option of sbatch, as in time=4:00:00."),
]  # fmt: skip


def executor_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Who runs the cells of a study, and with what."""
    for option in reversed(_EXECUTOR):
        command = option(command)
    return command


_EXTRAS = [
    click.option("--kl", is_flag=True, help="Measure the KL divergence from the dense model, too."),
    click.option("--text", metavar="PROMPT", help="Let the pruned and the dense model go on from this prompt."),
    click.option("--text-tokens", type=click.IntRange(1, 1024), default=20, show_default=True,
                 help="Tokens to generate for --text."),
]  # fmt: skip


def extra_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `harness.pipeline.open_bench` for more than perplexity."""
    for option in reversed(_EXTRAS):
        command = option(command)
    return command


json_option = click.option("--json", "json_file", metavar="FILE|-", help="Write the records as JSON; - is stdout.")
