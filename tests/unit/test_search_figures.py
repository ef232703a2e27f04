"""Figures of searches: every mark shows what it says, names stay text, no score is no mark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go
import pytest

from trait_probe.errors import BadInputError
from trait_probe.report._marks import CLEAN, INK, NULL, SUSPECT
from trait_probe.report.figures import Dot
from trait_probe.report.search_figures import (
    ArmPanel,
    ComponentPanel,
    QuestionPanel,
    SearchPanel,
    arms,
    component_differences,
    optimization_curves,
    question_differences,
)

ATTACK = "<img src=x>&"
SAFE = "&lt;img src=x&gt;&amp;"


def around(value: float, half: float = 0.1) -> Dot:
    return Dot(value, value - half, value + half)


def arm_panel(trait: str = "safety/evil", **overrides: Any) -> ArmPanel:
    fields: dict[str, Any] = {
        "supported": True,
        "arms": (("unsteered", around(0.2)), ("optimized", None), ("prompt", around(0.9))),
        "null": (0.1, 0.3, 0.3),
    }
    return ArmPanel(trait, **{**fields, **overrides})


def search_panel(trait: str = "safety/evil", **overrides: Any) -> SearchPanel:
    fields: dict[str, Any] = {
        "optimized": ((0.1, 0.4, 0.5), (0.2, 0.3, 0.6)),
        "random": ((0.0, 0.1, 0.1),),
    }
    return SearchPanel(trait, **{**fields, **overrides})


def component_panel(trait: str = "safety/evil", **overrides: Any) -> ComponentPanel:
    fields: dict[str, Any] = {
        "names": ("PC 3", "PC 1"),
        "extracted": (0.5, -0.2),
        "optimized": ((0.1, 0.2), (-0.7, -0.8)),
    }
    return ComponentPanel(trait, **{**fields, **overrides})


def question_panel(
    trait: str = "safety/evil", differences: tuple[float, ...] = (0.0, 1.0, -0.5)
) -> QuestionPanel:
    return QuestionPanel(trait, differences)


MAKE: dict[str, tuple[Callable[..., go.Figure], Callable[..., Any]]] = {
    "arms": (arms, arm_panel),
    "optimization_curves": (optimization_curves, search_panel),
    "component_differences": (component_differences, component_panel),
    "question_differences": (question_differences, question_panel),
}


def named(figure: go.Figure, name: str) -> list[Any]:
    return [trace for trace in figure.data if trace.name == name]


def words(figure: go.Figure) -> list[str]:
    return [note.text for note in figure.layout.annotations]


# --- every figure ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKE)
def test_figures_without_panels_or_with_one_trait_twice_are_refused(name: str) -> None:
    draw, panel = MAKE[name]
    for panels in ([], [panel("a"), panel("b"), panel("a")]):
        with pytest.raises(BadInputError, match=f"{name} needs panels of different traits"):
            draw(panels)


@pytest.mark.parametrize("name", MAKE)
def test_names_of_traits_are_literal(name: str) -> None:
    draw, panel = MAKE[name]
    content = draw([panel(ATTACK)]).to_json().replace("\\u003c", "<").replace("\\u0026", "&")
    assert "<img" not in content
    assert SAFE in content


@pytest.mark.parametrize("name", MAKE)
def test_more_traits_make_a_taller_figure(name: str) -> None:
    draw, panel = MAKE[name]
    counts = (1, 2, 10)  # ten: panels have to fit above each other
    heights = [draw([panel(f"trait-{i}") for i in range(n)]).layout.height for n in counts]
    assert heights[1] - heights[0] >= 100
    assert heights[2] - heights[1] == 8 * (heights[1] - heights[0])


# --- arms -----------------------------------------------------------------------------------------


def test_arms_stand_in_their_order_from_the_top_with_their_intervals() -> None:
    figure = arms([arm_panel()])
    (scores,) = named(figure, "arm")
    assert (list(scores.x), list(scores.y)) == ([0.9, None, 0.2], [1.0, 2.0, 3.0])
    assert list(figure.layout.yaxis.tickvals) == [0, 1.0, 2.0, 3.0]
    assert list(figure.layout.yaxis.ticktext) == [
        "random directions",
        "prompt",
        "optimized",
        "unsteered",
    ]
    assert list(scores.error_x.array) == pytest.approx([0.1, 0.0, 0.1])
    assert list(scores.error_x.arrayminus) == pytest.approx([0.1, 0.0, 0.1])
    assert scores.customdata[0] == pytest.approx([0.8, 1.0])
    low, high = figure.layout.xaxis.range
    assert low < 0.0
    assert high > 1.0


def test_an_arm_without_a_score_keeps_its_row_and_has_no_mark() -> None:
    (scores,) = named(arms([arm_panel()]), "arm")
    assert scores.x[1] is None
    assert list(scores.customdata[1]) == [None, None]


@pytest.mark.parametrize(
    ("supported", "shape", "color"), [(True, "circle", SUSPECT), (False, "circle-open", INK)]
)
def test_a_supported_gain_is_filled_and_coloured(supported: bool, shape: str, color: str) -> None:
    (scores,) = named(arms([arm_panel(supported=supported)]), "arm")
    assert (scores.marker.symbol, scores.marker.color) == (shape, color)


def test_random_directions_are_grey_ticks_in_the_lowest_row() -> None:
    (null,) = named(arms([arm_panel()]), "random direction")
    assert (list(null.x), list(null.y)) == ([0.1, 0.3, 0.3], [0.0, 0.0, 0.0])
    assert (null.marker.symbol, null.marker.color) == ("line-ns", NULL)
    (none,) = named(arms([arm_panel(null=())]), "random direction")
    assert len(none.x) == 0


def test_names_of_arms_are_literal_and_each_trait_has_axes_of_its_own() -> None:
    panels = [arm_panel("a"), arm_panel("b", supported=False, arms=((ATTACK, around(0.5)),))]
    figure = arms(panels)
    assert words(figure) == ["a", "b"]
    first, second = named(figure, "arm")
    assert (first.yaxis, second.yaxis) == ("y", "y2")
    assert (first.marker.symbol, second.marker.symbol) == ("circle", "circle-open")
    assert list(figure.layout.yaxis2.ticktext) == ["random directions", SAFE]
    assert figure.layout.yaxis2.range[1] == pytest.approx(1.6)


# --- searches -------------------------------------------------------------------------------------


def test_each_seed_is_a_curve_from_the_second_generation_on() -> None:
    figure = optimization_curves([search_panel()])
    first, second = named(figure, "CMA-ES")
    (random,) = named(figure, "random search")
    assert list(first.x) == list(random.x) == [2, 3, 4]
    assert (list(first.y), list(second.y)) == ([0.1, 0.4, 0.5], [0.2, 0.3, 0.6])
    assert list(random.y) == [0.0, 0.1, 0.1]
    assert "seed 1" in second.hovertemplate
    assert "generation %{x}" in second.hovertemplate
    assert figure.layout.xaxis.title.text == "generation"


def test_the_two_searches_differ_in_colour_and_dash_and_are_named_once() -> None:
    figure = optimization_curves([search_panel("a"), search_panel("b")])
    looks = {(trace.name, trace.line.color, trace.line.dash) for trace in figure.data}
    assert looks == {("CMA-ES", SUSPECT, "solid"), ("random search", CLEAN, "dot")}
    shown = [trace.name for trace in figure.data if trace.showlegend]
    assert sorted(shown) == ["CMA-ES", "random search"]
    assert words(figure) == ["a", "b"]
    assert figure.layout.xaxis2.title.text == "generation"


def test_short_curves_show_as_points_and_one_generation_as_none() -> None:
    figure = optimization_curves([search_panel(optimized=((0.5,),), random=((),))])
    (short,), (empty,) = named(figure, "CMA-ES"), named(figure, "random search")
    assert (list(short.x), short.mode) == ([2], "lines+markers")
    assert len(empty.x) == 0
    (long, *_) = named(optimization_curves([search_panel()]), "CMA-ES")
    assert long.mode == "lines"


# --- components -----------------------------------------------------------------------------------


def test_components_show_the_extracted_coordinate_and_every_seeds_beside_it() -> None:
    figure = component_differences([component_panel()])
    (extracted,) = named(figure, "extracted")
    (seeds,) = named(figure, "optimized, one a seed")
    assert (list(extracted.x), list(extracted.y)) == ([0.0, 1.0], [0.5, -0.2])
    assert list(seeds.x) == pytest.approx([0.18, 0.18, 1.18, 1.18])
    assert list(seeds.y) == [0.1, 0.2, -0.7, -0.8]
    assert list(figure.layout.xaxis.tickvals) == [0.0, 1.0]
    assert list(figure.layout.xaxis.ticktext) == ["PC 3", "PC 1"]
    assert extracted.marker.symbol != seeds.marker.symbol
    assert (extracted.marker.color, seeds.marker.color) == (CLEAN, SUSPECT)
    (zero,) = figure.layout.shapes
    assert (zero.y0, zero.y1) == (0, 0)


def test_components_are_named_once_in_the_legend_and_none_is_no_error() -> None:
    nothing = component_panel("b", names=(), extracted=(), optimized=())
    figure = component_differences([component_panel("a"), nothing])
    assert [trace.showlegend for trace in figure.data] == [True, True, False, False]
    assert words(figure) == ["a", "b"]
    assert [len(trace.x) for trace in figure.data[2:]] == [0, 0]


@pytest.mark.parametrize(
    "wrong", [{"names": ("PC 1",)}, {"extracted": (0.5,)}, {"optimized": ((0.1, 0.2),)}]
)
def test_components_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInputError, match="Every component has a name, a coordinate"):
        component_panel(**wrong)


# --- questions ------------------------------------------------------------------------------------


def test_every_question_is_a_point_ranked_within_its_row_and_coloured_by_its_side() -> None:
    figure = question_differences([question_panel("a"), question_panel("b", (0.01, 0.01))])
    lower, upper = figure.data
    assert list(figure.layout.yaxis.ticktext) == ["b", "a"]
    assert list(upper.x) == [-0.5, 0.0, 1.0]
    assert list(upper.marker.color) == [CLEAN, NULL, SUSPECT]
    assert list(upper.y) == pytest.approx([0.7, 1.0, 1.3])
    assert list(lower.x) == [0.01, 0.01]
    assert set(lower.marker.color) == {SUSPECT}
    assert len(set(lower.y)) == 2  # equal values lie apart, so that both show
    assert all(-0.5 < y < 0.5 for y in lower.y)
    (zero,) = figure.layout.shapes
    assert (zero.x0, zero.x1) == (0, 0)


def test_one_question_and_none_are_drawn() -> None:
    one, none = (question_differences([question_panel("a", row)]).data[0] for row in ((1.0,), ()))
    assert (list(one.x), len(one.y)) == ([1.0], 1)
    assert len(none.x) == 0
