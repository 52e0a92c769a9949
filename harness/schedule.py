"""Gradual pruning: the sparsities of the rounds that lead to a target."""

from __future__ import annotations

import math
from dataclasses import replace

from harness.records import Sparsity


def schedule(target: Sparsity, rounds: int) -> list[Sparsity]:
    """The sparsity of each round, rising to `target`, which is the last.

    A ratio of round r of K is s * (1 - (1 - r/K)^3), the cubic schedule of Zhu and Gupta 2017, "To Prune, or Not to
    Prune", equation 1, from a dense model; the ratio of a structure likewise. Of n:m, the number of kept weights falls
    from m to n by the same schedule, rounded up. Rounds that would ask for nothing new are left out, so there may
    be fewer than `rounds`.
    """
    steps: list[Sparsity] = []
    for done in range(1, rounds):
        share = 1 - (1 - done / rounds) ** 3
        if target.n is not None and target.m is not None:
            kept = math.ceil(target.m - (target.m - target.n) * share)
            step = replace(target, ratio=1 - kept / target.m, n=kept)
        else:
            step = replace(target, ratio=target.ratio * share)
        if step.ratio > (steps[-1].ratio if steps else 0) and step != target:
            steps.append(step)
    return [*steps, target]
