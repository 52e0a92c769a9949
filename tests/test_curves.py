"""Area and cliff, by hand."""

from __future__ import annotations

import math

import pytest

from harness.curves import area, cliff, over_sparsities
from harness.records import Score
from harness.status import Status
from harness.testing.fake_bench import fake_score

TWICE = math.log(2)


def scored(name: str, sparsity: str, perplexity: float) -> Score:
    return fake_score(name, sparsity, perplexity=perplexity)


def test_area_is_the_mean_height() -> None:
    assert area([(0.5, 1.0)]) == pytest.approx(0.5)  # a triangle
    assert area([(0.5, 1.0), (1.0, 1.0)]) == pytest.approx(0.75)
    assert area([(0.25, -0.1), (0.5, 0.1)]) == pytest.approx((-0.0125 + 0.0) / 0.5)


def test_the_cliff_lies_on_the_line_between_two_levels() -> None:
    assert cliff([(0.5, TWICE / 2), (0.7, TWICE * 1.5)]) == pytest.approx(0.6)
    assert cliff([(0.4, TWICE)]) == pytest.approx(0.4)
    assert cliff([(0.8, 2 * TWICE)]) == pytest.approx(0.4)
    assert cliff([(0.5, 0.1), (0.9, 0.6)]) is None
    assert cliff([(0.5, 0.1), (0.9, math.inf)]) == 0.9


def test_a_pruner_with_a_missing_level_has_no_area() -> None:
    scores = [
        scored("b", "0.5", 40),
        scored("b", "0.7", 80),
        scored("a", "0.5", 30),
        scored("a", "0.7", 60),
        scored("c", "0.5", 20),
        fake_score("c", "0.7", status=Status.TIMEOUT),
        scored("a", "2:4", 1000),
    ]
    frame = over_sparsities(scores)
    assert list(frame["pruner"]) == ["a", "b", "c"]
    assert list(frame["levels"]) == [2, 2, 1]
    assert frame["area"][0] < frame["area"][1]
    assert frame["area"].isna().tolist() == [False, False, True]
    assert frame["cliff"].tolist() == pytest.approx([0.5 + 0.2 * math.log(2 / 1.5) / TWICE, 0.5, math.nan], nan_ok=True)


def test_one_level_is_no_curve_and_nothing_is_an_empty_table() -> None:
    assert over_sparsities([scored("a", "0.5", 30), scored("a", "2:4", 40)]).empty
    assert over_sparsities([]).empty
