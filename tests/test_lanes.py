from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sandbox.checkpoint import Checkpoint
from sandbox.lanes import in_lanes
from sandbox.streaming import StreamedModel


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("lanes", "items", "used"), [(3, 7, 3), (3, 2, 2), (8, 7, 3), (1, 4, 1), (3, 0, 1)])
def test_each_item_is_done_once_and_by_a_lane_that_does_not_depend_on_speed(
    three_threads: None, lanes: int, items: int, used: int
) -> None:
    done: list[tuple[int, int]] = []
    lock = threading.Lock()

    def work(lane: int, item: int) -> None:
        assert not torch.is_grad_enabled()
        with lock:
            done.append((lane, item))

    in_lanes(lanes, items, work)
    assert sorted(done, key=lambda pair: pair[1]) == [(item % used, item) for item in range(items)]
    assert torch.get_num_threads() == 3
    assert torch.is_grad_enabled()


def test_an_error_in_a_lane_is_the_callers_and_the_threads_are_as_before(three_threads: None) -> None:
    def work(lane: int, item: int) -> None:
        if item == 4:
            raise ZeroDivisionError(str(lane))

    with pytest.raises(ZeroDivisionError, match="1"):
        in_lanes(3, 6, work)
    assert torch.get_num_threads() == 3


def test_batches_side_by_side_give_what_one_after_the_other_gives(three_threads: None, llama: Path) -> None:
    ids = torch.randint(0, 96, (80, 16), generator=torch.Generator().manual_seed(0))  # 3 batches of 512 tokens
    results = []
    for lanes in (1, 3):
        model = StreamedModel(Checkpoint(llama))
        model.lanes = lanes
        hidden = model.embed(ids)
        for block in range(model.blocks):
            hidden = model.run_block(block, hidden)
        logits = [torch.empty(0)] * len(ids)

        def read(_lane: int, window: int, model: StreamedModel = model, hidden: torch.Tensor = hidden) -> None:
            logits[window] = model.logits(ids[window : window + 1], hidden[window : window + 1])  # noqa: B023

        in_lanes(lanes, len(ids), read)
        results.append((hidden, torch.cat(logits)))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-5, atol=1e-5)
