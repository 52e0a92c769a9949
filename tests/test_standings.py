"""Who is better than whom: pairs within one ranking, and what people won against models."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.records import Score
from harness.standings import comparisons, wins
from harness.status import Status
from harness.testing.fake_bench import fake_score


def scored(name: str, perplexity: float, sparsity: str = "0.5", author: str = "human") -> Score:
    return fake_score(name, sparsity, author=author, perplexity=perplexity)


def test_pairs_are_of_one_ranking_and_name_the_better() -> None:
    scores = [scored("wanda", 30), scored("m/x/01", 33, author="model"), scored("wanda", 50, "0.7")]
    (pair,) = comparisons(scores).to_dict("records")
    assert (pair["target"], pair["protocol"], pair["sparsity"]) == ("testbed-llama", "protocol-1", "0.5")
    assert (pair["first"], pair["second"], pair["better"]) == ("wanda", "m/x/01", "first")
    assert (pair["first_author"], pair["second_author"]) == ("human", "model")
    assert pair["ratio"] == pytest.approx(30 / 33)
    assert pair["low"] <= pair["ratio"] <= pair["high"] < 1


def test_what_has_no_rank_is_in_no_pair() -> None:
    scores = [
        scored("wanda", 30),
        fake_score("broken", status=Status.TIMEOUT),
        replace(scored("too-good", 3), quarantined=True),
        replace(scored("outside", 31), isolation="bubblewrap"),
    ]
    assert comparisons(scores).empty
    assert list(comparisons(scores, rank_isolation="any")["second"]) == ["outside"]


def test_what_people_won_is_counted_over_the_rankings() -> None:
    model = {"author": "model"}
    scores = [
        *(scored("wanda", 30, sparsity) for sparsity in ("0.5", "0.6", "0.7")),
        *(scored("magnitude", 35, sparsity) for sparsity in ("0.5", "0.6")),
        scored("m/x/01", 31, "0.5", **model),
        scored("m/x/01", 30, "0.6", **model),
        scored("m/x/01", 29, "0.7", **model),
        scored("m/y/01", 40, "0.7", **model),
    ]
    table = wins(comparisons(scores)).set_index("human")
    assert table.loc["wanda"].to_dict() == {"m/x/01": "1 / 1 / 1", "m/y/01": "1 / 0 / 0"}
    assert table.loc["magnitude"].to_dict() == {"m/x/01": "0 / 0 / 2", "m/y/01": ""}


def test_any_name_of_a_candidate_can_stand_in_the_table() -> None:
    for name in ("human", "model", "<b>|a|</b>"):
        table = wins(comparisons([scored("wanda", 30), scored(name, 31, author="model")]))
        assert list(table.columns) == ["human", name]
        assert table.to_numpy().tolist() == [["wanda", "1 / 0 / 0"]]


def test_losses_that_are_not_finite_beat_nothing() -> None:
    odd = replace(scored("odd", 29), window_losses=(float("nan"), *[3.0] * 11))
    assert list(comparisons([odd, scored("wanda", 30)])["better"]) == ["tie"]


def test_without_models_nothing_is_won() -> None:
    assert wins(comparisons([scored("wanda", 30), scored("magnitude", 35)])).empty
    assert wins(comparisons([])).empty
