"""Devices that a model computes on: the CPU, or the GPU that torch finds first."""

from __future__ import annotations

import torch

from harness.errors import InputFault, UsageError

DEVICES = ("cpu", "cuda")


def check_device(name: str) -> None:
    """See that torch can compute there.

    Raises:
        UsageError: it is none of `DEVICES`.
        InputFault: this machine, or this build of torch, has no such device.
    """
    if name not in DEVICES:
        raise UsageError(f"device {name!r}: give {' or '.join(DEVICES)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputFault(f"device cuda: torch {torch.__version__} finds no GPU here; use --device cpu")


def arithmetic(device: torch.device) -> tuple[str, str, int]:
    """What the last digits of a result depend on, besides its inputs."""
    if device.type == "cuda":
        return torch.__version__, torch.cuda.get_device_name(device), 0
    return torch.__version__, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
