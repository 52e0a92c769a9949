"""The figure: its form follows the data, every series is drawn, and hostile names are only text."""

import math

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from harness.drawing import to_png
from harness.records import Score
from harness.stages.figure import draw
from harness.status import Status
from harness.testing.fake_bench import fake_score

RATIOS = ("0.1", "0.5", "0.6", "0.9")


def scores(*sparsities: str, targets: tuple[str, ...] = ("testbed-llama",)) -> list[Score]:
    return [
        fake_score(name, sparsity, author=author, loss=math.log(20) + index / 4 + place / 2, target=target)
        for target in targets
        for place, sparsity in enumerate(sparsities)
        for index, (name, author) in enumerate([("magnitude", "human"), ("wanda", "human"), ("o1/x/01", "model")])
    ]


def texts(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()]


def points(axes: Axes) -> list[tuple[float, float]]:
    lines = [line for line in axes.lines if line.get_marker() not in ("None", None, "")]
    return [(x, y) for line in lines for x, y in np.asarray(line.get_xydata()).tolist()]


def test_many_ratios_are_lines_on_a_log_axis_and_patterns_have_their_panel() -> None:
    given = scores(*RATIOS, "2:4")
    ratios, patterns = draw(given, "study").axes
    assert (ratios.get_yscale(), patterns.get_yscale()) == ("log", "log")
    expected = {(float(one.sparsity), one.perplexity) for one in given if one.sparsity != "2:4"}
    assert set(points(ratios)) == expected
    assert {y for _, y in points(patterns)} == {one.perplexity for one in given if one.sparsity == "2:4"}


def test_people_and_models_differ_by_colour_fill_and_line() -> None:
    (axes,) = draw(scores(*RATIOS), "study").axes
    lines = [line for line in axes.lines if line.get_marker() not in ("None", None, "")]
    filled = [line for line in lines if line.get_markerfacecolor() != "white"]
    hollow = [line for line in lines if line.get_markerfacecolor() == "white"]
    assert (len(filled), len(hollow)) == (2, 1)
    assert {line.get_linestyle() for line in filled} == {"-"}
    assert {line.get_linestyle() for line in hollow} == {"--"}
    assert not {line.get_color() for line in filled} & {line.get_color() for line in hollow}
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 3


@pytest.mark.parametrize("sparsities", [("0.5",), ("0.5", "2:4"), ("2:4",), RATIOS, (*RATIOS, "2:4", "4:8")])
def test_every_series_is_drawn_named_and_compared_with_dense(sparsities: tuple[str, ...]) -> None:
    figure = draw(scores(*sparsities), "study")
    shown = " ".join(texts(figure))
    for name in ("magnitude", "wanda", "o1/x/01", "written by a person", "written by a model", "dense model"):
        assert name in shown
    for axes in figure.axes:
        assert len(points(axes)) >= 3
        assert any(20.0 in np.asarray(line.get_xydata()) for line in axes.lines)


def test_few_ratios_are_dots_sorted_by_perplexity_with_a_panel_a_sparsity() -> None:
    figure = draw(list(reversed(scores("0.5", "2:4"))), "study")
    first, second = figure.axes
    assert first.get_xscale() == "log"
    assert [label.get_text() for label in first.get_yticklabels()] == ["magnitude", "wanda", "o1/x/01"]
    assert [x for x, _ in points(first)] == sorted(x for x, _ in points(first))
    assert "2:4 pattern" in second.get_title(loc="left")
    low, high = first.get_ylim()
    assert low > high, "the best is on top"


def test_each_target_has_its_own_panels() -> None:
    assert len(draw(scores("0.5", "2:4", targets=("a", "b")), "study").axes) == 4
    assert len(draw(scores(*RATIOS, "2:4", targets=("a", "b")), "study").axes) == 4


@pytest.mark.parametrize("sparsities", [("0.5",), RATIOS])
def test_errors_and_quarantined_pruners_stay_visible_without_a_point(sparsities: tuple[str, ...]) -> None:
    extra = [
        fake_score("broken", sparsities[0], author="model", status=Status.TIMEOUT),
        fake_score("too-good", sparsities[0], author="model", perplexity=1.234, quarantined=True),
    ]
    figure = draw([*scores(*sparsities), *extra], "study")
    shown = " ".join(texts(figure))
    for word in ("broken", "TIMEOUT", "too-good", "quarantined"):
        assert word in shown
    assert all(1.234 not in point for axes in figure.axes for point in points(axes))


@pytest.mark.parametrize("sparsities", [("0.5",), RATIOS])
@pytest.mark.parametrize("name", ["$\\frac{", "_hidden", "x" * 500, "\x1b[31m\u202e", "a\nb", "<b>&", "\ud7ff\u4e2d"])
@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_hostile_name_is_only_text(name: str, sparsities: tuple[str, ...]) -> None:
    given = [fake_score(name, sparsity, author="model") for sparsity in sparsities]
    given.append(fake_score(name + "2", sparsities[0], author="model", status=Status.CRASHED))
    assert to_png(draw(given, name)).startswith(b"\x89PNG")


@pytest.mark.parametrize("values", [[], [20.0], [1e300, 5.0], [math.inf], [20.0, 20.0]])
@pytest.mark.parametrize("high", [None, 1e5, math.inf])
@pytest.mark.parametrize("sparsities", [("0.5",), RATIOS])
def test_any_range_of_numbers_renders(values: list[float], high: float | None, sparsities: tuple[str, ...]) -> None:
    given = [
        fake_score(f"p{index}", sparsity, perplexity=value, perplexity_low=None, perplexity_high=high)
        for index, value in enumerate(values)
        for sparsity in sparsities
    ]
    assert to_png(draw(given, "study")).startswith(b"\x89PNG")


def test_equal_scores_give_equal_bytes() -> None:
    assert to_png(draw(scores("0.5", "2:4"), "study")) == to_png(draw(scores("0.5", "2:4"), "study"))


def test_it_is_sharp_enough_for_print() -> None:
    content = to_png(draw(scores("0.5"), "study"))
    assert int.from_bytes(content[16:20], "big") >= 1200


def test_many_targets_are_small_panels_with_the_best_of_each_author() -> None:
    targets = tuple(f"target-{number}" for number in range(9))
    given = [*scores(*RATIOS, "2:4", targets=targets), fake_score("gone", "0.5", status=Status.TIMEOUT, author="human")]
    given.append(fake_score("a $bad_{name", "0.1", author="model", target="target-0", loss=math.log(1e6)))
    figure = draw(given, "many")
    words = texts(figure)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(shown) == 10, "and one where nothing has a perplexity"
    assert {"target-0", "target-8", "0.9", "2:4", "best written by a person", "dense model"} <= set(words)
    assert figure.get_figheight() < 12
    first = shown[0]
    best = {score.sparsity: score.perplexity for score in given if score.pruner == "magnitude"}
    assert set(points(first)) >= {(place, best[label]) for place, label in enumerate([*RATIOS, "2:4"])}
    assert to_png(figure) == to_png(draw(given, "many"))


def test_a_pruner_looks_the_same_in_all_panels_and_like_no_other() -> None:
    long = "meta-llama-llama-3.3-70b-instruct-turbo"
    names = [f"{long}/{idea}-pruning/01" for idea in ("l1-norm", "random", "structured")]
    given = [
        fake_score(name, level, author="model", loss=loss, target=target)
        for target, losses in {"a": (3.1, 3.2, 3.3), "b": (3.3, 3.1, 3.2)}.items()
        for name, loss in zip(names, losses, strict=True)
        for level in RATIOS
    ]
    heights = {(score.target, score.pruner): score.perplexity for score in given}
    panels = [axes for axes in draw(given, "looks").axes if axes.lines]
    looks = [
        {float(np.asarray(line.get_ydata())[0]): (line.get_color(), line.get_marker()) for line in panel.lines}
        for panel in panels
    ]
    first, second = (
        [look[float(heights[target, name] or 0)] for name in names] for target, look in zip("ab", looks, strict=True)
    )
    assert first == second
    assert len(set(first)) == 3
