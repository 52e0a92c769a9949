"""By model: samples that pass, pass@k, and what a valid pruner costs; unknown is not nothing."""

import math
from hashlib import sha256
from typing import Any

import pytest

from harness import pruners
from harness.metrics import pass_at_k
from harness.records import Score
from harness.report import Results
from harness.report.attempts import Attempt, attempts
from harness.report.models import by_model, headings, texts
from harness.status import Status
from harness.testing.fake_bench import fake_score


def sample(idea: str, number: int, sparsity: str = "0.5", status: Status = Status.OK, **values: Any) -> Score:
    name = f"o1/{idea}/{number:02}"
    return fake_score(name, sparsity, status=status, author="model", idea=idea, model="o1", **values)


def row(*scores: Score, attempted: dict[str, Attempt] | None = None) -> dict[str, Any]:
    results = Results("study", len(scores), scores, [], {}, "docker", attempts=attempted or {})
    (found,) = by_model(results).to_dict("records")
    return {str(key): value for key, value in found.items()}


def test_a_sample_passes_that_is_ok_everywhere() -> None:
    found = row(
        *(sample("a", n, s) for n in (1, 2) for s in ("0.5", "0.6")),
        sample("b", 1),
        sample("b", 1, "0.6", Status.TIMEOUT),
        sample("b", 2),
        sample("b", 2, "0.6"),
        fake_score("wanda"),
    )
    assert (found["ideas"], found["samples"], found["passed"]) == (2, 4, 3)
    assert found["pass_at_1"] == pytest.approx((1 + 0.5) / 2)
    assert (found["k"], found["pass_at_k"]) == (2, pytest.approx((1 + pass_at_k(2, 1, 2)) / 2))
    assert found["pass_at_1_low"] < 0.75 < found["pass_at_1_high"]


def test_a_sample_that_is_not_finished_is_left_out_until_it_is() -> None:
    scores = [sample("a", 1), sample("b", 1, status=Status.TIMEOUT), sample("c", 1)]
    cells = [("testbed-llama", level, f"o1/{idea}/01") for idea in "ab" for level in ("0.5", "0.6")]
    given = Results("study", 5, scores, [], {}, "docker", cells=[*cells, ("testbed-llama", "0.5", "o1/c/01")])
    (found,) = by_model(given).to_dict("records")
    assert (found["samples"], found["passed"]) == (2, 1)


def test_a_quarantined_sample_does_not_pass() -> None:
    assert row(sample("a", 1, quarantined=True))["passed"] == 0


def test_tokens_and_money_are_shared_among_the_valid_ones() -> None:
    spent = {
        "o1/a/01": Attempt("", completion_tokens=300, cost=0.25),
        "o1/b/01": Attempt("", completion_tokens=700, cost=0.5),
    }
    found = row(sample("a", 1), sample("b", 1, status=Status.NO_CODE), attempted=spent)
    assert (found["tokens_per_valid"], found["cost_per_valid"]) == (1000, 0.75)
    none = row(sample("a", 1, status=Status.NO_CODE), sample("b", 1, status=Status.NO_CODE), attempted=spent)
    assert none["tokens_per_valid"] == math.inf
    unknown = row(sample("a", 1), sample("c", 1), attempted=spent)
    assert unknown["tokens_per_valid"] is None or math.isnan(unknown["tokens_per_valid"])


def test_the_rows_read_as_they_should() -> None:
    scores = [sample("a", 1), sample("b", 1, status=Status.NO_CODE)]
    frame = by_model(Results("study", 2, scores, [], {}, "docker"))
    (read,) = texts(frame)
    assert len(read) == len(headings(frame))
    assert read[5] == "50% (9% to 91%)"
    assert read[6] == ""


def test_templates_stand_apart_where_there_are_several() -> None:
    one = [sample("a", 1, template="terse"), sample("b", 2, status=Status.NO_CODE, template="terse")]
    other = [sample("a", 3, template="one-pass"), sample("b", 4, template="one-pass")]
    frame = by_model(Results("study", 4, one + other, [], {}, "docker"))
    assert frame[["model", "template", "samples", "passed"]].values.tolist() == [
        ["o1", "terse", 2, 1],
        ["o1", "one-pass", 2, 2],
    ]
    assert headings(frame)[:3] == ["model", "template", "target"]
    assert [row[:3] for row in texts(frame)] == [["o1", name, "testbed-llama"] for name in ("terse", "one-pass")]
    assert "template" not in by_model(Results("study", 2, one, [], {}, "docker"))


def test_attempts_are_read_only_where_they_are_what_was_run() -> None:
    name = "sample/l1-norm-pruning/01"
    source = pruners.find(name).source
    assert source is not None
    digest = sha256(source).hexdigest()
    wanda = sha256(pruners.find("wanda").source or b"").hexdigest()
    found = attempts({name: digest, "wanda": wanda, "magnitude": "other", "gone.py": digest, "x/y/01": None})
    assert set(found) == {name, "wanda"}
    one = found[name]
    assert one.code == source.decode()
    assert one.answer is not None
    assert one.code.strip() in one.answer
    assert "L1 Norm Pruning" in (one.prompt or "")
    assert "not the output of any language model" in (one.facts or {})["provenance"]
    assert (found["wanda"].prompt, found["wanda"].answer) == (None, None)
    assert attempts({name: "another"}) == {}
