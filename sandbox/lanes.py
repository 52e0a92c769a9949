"""Work side by side: each lane is a thread that does its own items on its share of the cores.

A small model's products and elementwise steps are too short to be shared between cores: whole batches are.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch


def in_lanes(lanes: int, items: int, run: Callable[[int, int], object]) -> None:
    """Call `run(lane, item)` for each item, without gradients; lane k does items k, k + lanes, ... in this order.

    Which lane does what does not depend on how fast they are, so sums that each lane keeps can be repeated.

    Args:
        lanes: how many to use; no more than there are items or threads of torch. One is the caller's own thread.
        items: their number.
        run: what to do.
    """
    threads = torch.get_num_threads()
    lanes = max(1, min(lanes, items, threads))

    def work(lane: int) -> None:
        with torch.no_grad():
            for item in range(lane, items, lanes):
                run(lane, item)

    if lanes == 1:
        work(0)
        return
    torch.set_num_threads(threads // lanes)
    try:
        with ThreadPoolExecutor(lanes) as pool:
            for done in [pool.submit(work, lane) for lane in range(lanes)]:
                done.result()
    finally:
        torch.set_num_threads(threads)
