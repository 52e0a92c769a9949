"""The ideas of Table 4, found by title, slug or number."""

import csv
import re
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.names import slug, suggestion
from harness.resources import resource
from harness.stages.idea import find_idea, ideas, own_idea

TITLES = [
    "Gradient Sensitive Pruning",
    "L1 Norm Pruning",
    "Structured Pruning",
    "K-means Clustering Pruning",
    "Random Pruning",
    "Random Pattern Pruning",
    "Variational Dropout Pruning",
    "Gradient based Pruning",
    "Elastic Weight Consolidation Pruning",
    "Dynamic Pruning with Reinforcement Learning",
]


def test_they_are_those_of_table_4() -> None:
    assert [idea.title for idea in ideas()] == TITLES
    assert [idea.number for idea in ideas()] == list(range(1, 11))


def test_slugs_are_file_names_and_descriptions_name_a_source() -> None:
    files = {file.stem for file in resource("prompts").joinpath("ideas").iterdir()}
    assert {idea.slug for idea in ideas()} == files
    for idea in ideas():
        assert idea.slug == slug(idea.title)
        assert "\n" not in idea.description
        assert re.search(r"arXiv:\d{4}\.\d{5}", idea.description)


@pytest.mark.parametrize(
    "text", ["L1 Norm Pruning", "l1 norm pruning", "l1-norm-pruning", "L1_NORM  pruning!", "2", "02", "02."]
)
def test_find(text: str) -> None:
    assert find_idea(text).slug == "l1-norm-pruning"


@pytest.mark.parametrize(
    ("text", "near"), [("l1 norm", "L1 Norm Pruning"), ("random patern pruning", "Random Pattern")]
)
def test_unknown_ideas_name_near_ones(text: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"Did you mean.*{near}.*--describe"):
        find_idea(text)


@pytest.mark.parametrize("text", ["", "11", "0", "-", "²", "quantum pruning of the moon", "\x1b[31m"])
def test_unknown_ideas_without_a_near_one(text: str) -> None:
    with pytest.raises(UsageError, match="harness ideas"):
        find_idea(text)


def test_an_idea_of_ones_own() -> None:
    idea = own_idea(" My idea ", " Remove every second weight. ")
    assert (idea.slug, idea.title, idea.description, idea.number) == (
        "my-idea",
        "My idea",
        "Remove every second weight.",
        None,
    )


@pytest.mark.parametrize(
    ("title", "description"), [("", "text"), ("title", " "), ("l1 norm PRUNING", "text"), ("title", "\ud800")]
)
def test_ideas_that_cannot_be_ones_own(title: str, description: str) -> None:
    with pytest.raises(UsageError):
        own_idea(title, description)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("local:smollm2-135m", "local-smollm2-135m"),
        ("openai/gpt-4.1", "openai-gpt-4.1"),
        ("../../etc", "etc"),
        ("..", "x-"),
        ("剪枝", "x-"),
        ("a" * 100, "a" * 60),
        ("O1", "o1"),
    ],
)
def test_slug(text: str, expected: str) -> None:
    assert slug(text).startswith(expected)
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,59}", slug(text))


def test_suggestion_is_empty_when_nothing_is_near() -> None:
    assert suggestion("zzz", ["wanda", "sparsegpt"]) == ""


def test_the_bundled_copy_of_table_4_agrees() -> None:
    table = Path(__file__).parent.parent / "harness" / "bundled" / "paper" / "table4.csv"
    with table.open(newline="") as file:
        assert [row["Core Idea"] for row in csv.DictReader(file)] == TITLES
