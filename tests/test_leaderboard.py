"""Rankings: order, ties, what has no rank, denominators, and text that can do no harm."""

import csv
import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.csv_text import to_csv
from harness.stages.leaderboard import (
    by_sparsity,
    interval_text,
    leaderboard,
    markdown,
    markdown_table,
    perplexity_text,
    rankings,
    summary,
    summary_headings,
    summary_texts,
    to_markdown,
)
from harness.status import Status
from harness.testing.fake_bench import fake_score

LOSS = math.log(30.0)


def ranks(frame: pd.DataFrame) -> list[tuple[str, int | None]]:
    return [
        (name, None if pd.isna(rank) else int(rank)) for name, rank in zip(frame["pruner"], frame["rank"], strict=True)
    ]


def test_people_and_models_stand_in_one_ranking_with_errors_at_the_bottom() -> None:
    frame = leaderboard(
        [
            fake_score("a-broken", status=Status.RUNTIME_ERROR, author="model"),
            fake_score("bias", status=Status.NA),
            fake_score("worse", perplexity=40.0),
            fake_score("candidate", perplexity=35.0, author="model"),
            fake_score("best", perplexity=30.0),
        ]
    )
    assert ranks(frame) == [("best", 1), ("candidate", 2), ("worse", 3), ("bias", None), ("a-broken", None)]
    assert list(frame["status"]) == ["OK", "OK", "OK", "NA", "RUNTIME_ERROR"]
    assert frame["ratio_to_dense"][0] == pytest.approx(1.5)
    assert frame["error"][4] == "RUNTIME_ERROR: it went wrong (line 3)"


def test_equal_perplexities_share_a_rank_and_the_next_skips() -> None:
    frame = leaderboard([fake_score(name, perplexity=value) for name, value in [("c", 9.0), ("b", 8.0), ("a", 8.0)]])
    assert ranks(frame) == [("a", 1), ("b", 1), ("c", 3)]


def test_pruners_that_cannot_be_told_apart_share_a_rank_and_say_so() -> None:
    losses = [[3.0, 3.4, 2.9, 3.3, 3.1, 3.2], [3.1, 3.3, 3.0, 3.2, 3.2, 3.15], [3.6, 4.0, 3.5, 3.9, 3.7, 3.8]]
    scores = [
        replace(fake_score(name), perplexity=math.exp(sum(values) / 6), window_losses=tuple(values))
        for name, values in zip("abc", losses, strict=True)
    ]
    frame = leaderboard(scores)
    assert ranks(frame) == [("a", 1), ("b", 1), ("c", 3)]
    assert list(frame["notes"]) == ["tie", "tie", ""]


def test_a_single_window_ranks_by_its_perplexity() -> None:
    scores = [replace(fake_score(name), window_losses=(loss,)) for name, loss in [("a", 3.0), ("b", 2.0)]]
    assert dict(ranks(leaderboard(scores))) == {"b": 1, "a": 2}


@pytest.mark.parametrize("field", ["target", "protocol", "sparsity"])
def test_targets_protocols_and_sparsities_are_never_ranked_together(field: str) -> None:
    second = {"target": "other", "protocol": "other", "sparsity": "2:4"}[field]
    first = {"target": "testbed-llama", "protocol": "protocol-1", "sparsity": "0.5"}[field]
    pairs = [("a", 9.0, first), ("b", 8.0, first), ("a", 7.0, second), ("b", 8.0, second)]
    changes: list[Any] = [{field: group} for _, _, group in pairs]
    scores = [fake_score(name, perplexity=value) for name, value, _ in pairs]
    frame = leaderboard([replace(score, **change) for score, change in zip(scores, changes, strict=True)])
    assert ranks(frame) == [("b", 1), ("a", 2), ("a", 1), ("b", 2)]
    assert list(frame[field]) == [first, first, second, second]


def test_quarantined_rows_have_no_rank_and_say_so() -> None:
    frame = leaderboard([fake_score("too-good", perplexity=1.0, quarantined=True), fake_score("fair")])
    assert ranks(frame) == [("fair", 1), ("too-good", None)]
    assert "quarantined" in frame["notes"][1]


def test_a_rank_needs_docker_unless_any_isolation_will_do() -> None:
    scores = [
        fake_score("inside", perplexity=30.0, isolation="docker:runsc"),
        fake_score("outside", perplexity=20.0, isolation="bubblewrap"),
    ]
    strict = leaderboard(scores)
    assert ranks(strict) == [("inside", 1), ("outside", None)]
    assert strict["notes"][1] == "not ranked: isolation bubblewrap"
    assert ranks(leaderboard(scores, rank_isolation="any")) == [("outside", 1), ("inside", 2)]


def test_uneven_budgets_and_changed_weights_are_marked() -> None:
    frame = leaderboard([fake_score(uniform=False, weights_changed=True)])
    assert frame["notes"][0] == "uneven budget; weights changed"


def test_a_divergence_stands_in_the_notes_and_as_a_number() -> None:
    frame = leaderboard([fake_score("a", perplexity=20.0, kl_divergence=0.125), fake_score("b", perplexity=30.0)])
    assert frame["notes"].tolist() == ["KL from dense 0.1250", ""]
    assert frame["kl_divergence"].dropna().tolist() == [0.125]


def test_headings_are_escaped_as_cells_are() -> None:
    assert markdown_table(["<b>|x"], [["1"]]).startswith("| &#60;b&#62;&#124;x |")


def test_marks_are_for_rows_with_a_perplexity() -> None:
    frame = leaderboard([fake_score(status=Status.SPARSITY_MISSED, uniform=False, weights_changed=True)])
    assert frame["notes"][0] == ""


def test_errors_stay_in_the_denominator() -> None:
    scores = [
        fake_score("m1", author="model"),
        fake_score("m1", "2:4", author="model", status=Status.TIMEOUT),
        fake_score("m2", author="model", status=Status.NO_CODE),
        fake_score("m2", "2:4", author="model", status=Status.NO_CODE),
        fake_score("h1"),
        fake_score("h2", status=Status.NA),
    ]
    rows = summary(leaderboard(scores)).set_index("author")
    assert rows.loc["model"].to_dict() == {
        "pruners": 2,
        "pruners_ok": 1,
        "cells": 4,
        "ok": 1,
        "error": 3,
        "na": 0,
        "ok_rate": 0.25,
        "ok_rate_low": pytest.approx(0.0456, abs=1e-4),
        "ok_rate_high": pytest.approx(0.6994, abs=1e-4),
    }
    assert list(rows.loc["human"][["ok", "na", "ok_rate"]]) == [1, 1, 0.5]


def test_templates_are_counted_apart_where_there_are_several() -> None:
    scores = [
        fake_score("m1", author="model", template="terse"),
        fake_score("m2", author="model", template="one-pass", status=Status.TIMEOUT),
        fake_score("m3", author="model", template="one-pass"),
        fake_score("h1"),
    ]
    rows = summary(leaderboard(scores))
    assert rows[["author", "template", "cells", "ok"]].values.tolist() == [
        ["human", "", 1, 1],
        ["model", "one-pass", 2, 1],
        ["model", "terse", 1, 1],
    ]
    assert summary_headings(rows)[:3] == ["author", "template", "pruners"]
    assert all(len(row) == len(summary_headings(rows)) for row in summary_texts(rows))
    assert "template" not in summary(leaderboard(scores[1:]))


def test_by_sparsity_shows_a_status_where_there_is_no_perplexity() -> None:
    scores = [fake_score("w", perplexity=17.285), fake_score("w", "2:4", status=Status.PATTERN_VIOLATED)]
    table = by_sparsity(leaderboard([*scores, fake_score("x", perplexity=48414.551)]))
    assert table.to_dict("records") == [
        {"target": "testbed-llama", "author": "human", "pruner": "w", "0.5": "17.29", "2:4": "PATTERN_VIOLATED"},
        {"target": "testbed-llama", "author": "human", "pruner": "x", "0.5": "48,415", "2:4": ""},
    ]


def test_nothing_yet_is_an_empty_leaderboard() -> None:
    frame = leaderboard([])
    assert frame.empty
    assert to_markdown(rankings(frame)) == ""
    assert summary(frame).empty
    assert by_sparsity(frame).empty
    assert to_csv(frame).startswith("target,protocol,sparsity,rank,pruner,")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", " =", "\uff1d", '"=', "%", "|"])
def test_no_csv_cell_is_a_formula(start: str) -> None:
    hostile = f"{start}cmd()"
    score = fake_score(
        hostile,
        status=Status.RUNTIME_ERROR,
        author="model",
        message=hostile,
        model=hostile,
        idea=hostile,
        template=hostile,
    )
    row = next(csv.DictReader(io.StringIO(to_csv(leaderboard([score])))))
    for column in ("pruner", "model", "idea", "template"):
        assert row[column].startswith("'"), column
        assert row[column].rstrip(")").endswith("cmd("), column
    assert row["error"].startswith("RUNTIME_ERROR: ")


def test_csv_keeps_numbers_as_numbers_at_full_precision() -> None:
    text = to_csv(leaderboard([fake_score("w", perplexity=0.1 + 0.2, perplexity_low=-1.5)]))
    row = next(csv.DictReader(io.StringIO(text)))
    assert float(row["perplexity"]) == 0.1 + 0.2
    assert row["perplexity_low"] == "-1.5"
    assert row["rank"] == "1"


HOSTILE = (
    "a|b<script>alert(1)</script>[x](http://evil)`c`\r\n# head www.evil.example $m$ ![i](x) **b** _e_ \x1b[31m\u202e"
)


def test_markdown_of_a_hostile_name_is_text_in_one_cell() -> None:
    text = to_markdown(rankings(leaderboard([fake_score(HOSTILE, status=Status.RUNTIME_ERROR, message=HOSTILE)])))
    (row,) = [line for line in text.splitlines() if "RUNTIME_ERROR" in line]
    assert row.count("|") == 13
    for piece in ("<", ">", "`", "](", "://", "www.", "$", "**", "_e_", "\x1b", "\u202e"):
        assert piece not in row, piece


@given(st.text(max_size=500))
def test_markdown_never_lets_markup_or_a_line_break_through(text: str) -> None:
    shown = markdown(text)
    assert not set(shown) & set("<>|`*[]\\~$\n\r\x0b\x0c\x1c\x85\u2028\u2029\x1b\x00")
    table = markdown_table(["one", "two"], [(text, 1)])
    assert [line.count("|") for line in table.split("\n")] == [3, 3, 3, 0]


def test_ordinary_names_stay_readable_in_markdown() -> None:
    for name in ("first_order_movement", "sample/l1-norm-pruning/01", "2:4", "docker:runsc", "o1 (high), 50%"):
        assert markdown(name) == name


def test_texts_are_bounded() -> None:
    frame = leaderboard([fake_score("n" * 10_000, status=Status.CRASHED, message="m" * 100_000)])
    assert len(frame["pruner"][0]) < 150
    assert len(frame["error"][0]) < 250


@pytest.mark.parametrize(
    ("value", "text"),
    [(5.696, "5.70"), (559.987, "559.99"), (48414.551, "48,415"), (1.5e9, "1.5e+09"), (math.inf, "inf")],
)
def test_perplexities_are_written_as_people_read_them(value: float, text: str) -> None:
    assert perplexity_text(value) == text
    assert interval_text(value, math.nan) == ""


@pytest.mark.parametrize("seed", range(3))
def test_csv_is_that_of_pandas_where_nothing_is_a_formula(seed: int) -> None:
    random = np.random.default_rng(seed)
    numbers = random.normal(size=40) * 10.0 ** random.integers(-300, 300, 40)
    texts = ["a", "x,y", 'say "no"', "two\nlines", "", "NA", None]
    frame = pd.DataFrame(
        {
            "number": np.where(random.random(40) < 0.2, np.nan, numbers),
            "count, all": pd.Series(random.integers(-5, 5, 40), dtype="Int64").where(random.random(40) < 0.7),
            "flag": pd.Series(random.random(40) < 0.5, dtype="boolean").where(random.random(40) < 0.7),
            "text": random.choice(np.array(texts, dtype=object), 40),
            "mixed": random.choice(np.array([-1, 2.5, "b", None, np.nan], dtype=object), 40),
            "infinite": np.where(random.random(40) < 0.5, -np.inf, 0.1),
        }
    )
    assert to_csv(frame) == frame.to_csv(index=False, lineterminator="\n")
