"""Figures of harm: what is drawn is what was given, missed categories show, names stay text."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go
import pytest
from study_builders import without_type_checks

from trait_probe.errors import BadInputError
from trait_probe.report.figures import Dot
from trait_probe.report.harm_figures import (
    CategoryRow,
    RocCurve,
    SeverityRow,
    per_category_auc,
    roc,
    severity,
    trait_category_matrix,
)

LONG = "misinformation_regarding_ethics,laws_and_safety"
ATTACK = "<img src=x>&"
SAFE = "&lt;img src=x&gt;&amp;"


def around(value: float, half: float = 0.1) -> Dot:
    return Dot(value, value - half, value + half)


def category(name: str, value: float | None, state: Any = "found", **overrides: Any) -> CategoryRow:
    fields: dict[str, Any] = {"text": around(0.8), "n_unsafe": 1234, **overrides}
    dot = None if value is None else around(value)
    return CategoryRow(name, dot, state=state, **fields)


def curve(name: str, role: Any = "claimed", **overrides: Any) -> RocCurve:
    fields: dict[str, Any] = {
        "false_positive": (0.0, 0.0, 0.002, 0.5, 1.0),
        "true_positive": (0.0, 0.2, 0.2, 0.9, 1.0),
        "auroc": around(0.8),
    }
    return RocCurve(name, role=role, **{**fields, **overrides})


def named(figure: go.Figure, name: str) -> Any:
    return next(trace for trace in figure.data if trace.name == name)


def words(figure: go.Figure) -> list[str]:
    return [note.text for note in figure.layout.annotations]


# --- by category ----------------------------------------------------------------------------------


def test_categories_stand_in_their_order_with_both_numbers_and_their_state() -> None:
    rows = [
        category("violence", 0.9),
        category("fraud", 0.45, "missed", n_unsafe=70),
        category("drugs", 0.65, "undecided", text=None),
    ]
    figure = per_category_auc(rows, criterion=0.7)
    assert list(figure.layout.yaxis.ticktext) == ["drugs", "fraud", "violence"]
    found, missed = named(figure, "projection, found"), named(figure, "projection, missed")
    undecided = named(figure, "projection, undecided")
    assert [(trace.x, trace.y) for trace in (found, missed, undecided)] == [
        ((0.9,), (2,)),
        ((0.45,), (1,)),
        ((0.65,), (0,)),
    ]
    assert missed.error_x.array[0] == pytest.approx(0.1)
    text = named(figure, "classifier of the text only")
    assert list(text.x) == [None, 0.8, 0.8]
    assert text.marker.color == "#7A7A7A"
    shapes = {trace.marker.symbol for trace in figure.data}
    assert len(shapes) == 4
    assert missed.marker.size > found.marker.size


def test_missed_categories_are_bold_and_every_row_has_its_count_and_hover() -> None:
    figure = per_category_auc(
        [category("violence", 0.9), category("fraud", 0.45, "missed", n_unsafe=70)], criterion=0.7
    )
    assert {"1,234", "found", "<b>70</b>", "<b>missed</b>", "unsafe", "state"} <= set(words(figure))
    missed = named(figure, "projection, missed")
    low, high, *beside = missed.customdata[0]
    assert (low, high) == pytest.approx((0.35, 0.55))
    assert beside == ["fraud", 70]
    for part in ("%{customdata[2]}", "missed", "%{customdata[3]} unsafe answers"):
        assert part in missed.hovertemplate
    lines = sorted(shape.x0 for shape in figure.layout.shapes)
    assert lines == [0.5, 0.7]


def test_a_category_without_a_number_keeps_its_row() -> None:
    figure = per_category_auc([category("a", None, "undecided"), category("b", 0.8)], criterion=0.7)
    assert list(figure.layout.yaxis.ticktext) == ["b", "a (unscored)"]
    assert {trace.name for trace in figure.data} == {
        "classifier of the text only",
        "projection, found",
    }


def test_long_names_are_broken_not_cut() -> None:
    rows = [category(LONG, 0.8), category("x" * 70, 0.8), category(ATTACK, 0.8)]
    attack, unbroken, long = per_category_auc(rows, criterion=0.7).layout.yaxis.ticktext
    assert long == "misinformation_regarding_<br>ethics,laws_and_safety"
    assert unbroken == "<br>".join(["x" * 30, "x" * 30, "x" * 10])
    assert attack == SAFE


def test_names_are_literal_in_every_figure() -> None:
    drawn = (
        per_category_auc([category(ATTACK, 0.8)], criterion=0.7),
        trait_category_matrix([ATTACK], [ATTACK], [[0.4]], [[False]]),
        roc([curve(ATTACK)]),
        severity([SeverityRow(0, around(0.1), 9)], what=ATTACK, unit=ATTACK),
    )
    for figure in drawn:
        content = figure.to_json().replace("\\u003c", "<").replace("\\u0026", "&")
        assert "<img" not in content
        assert SAFE in content


def test_categories_that_do_not_fit_are_refused() -> None:
    row = category("a", 0.8)
    with pytest.raises(BadInputError, match="needs something to draw"):
        per_category_auc([], criterion=0.7)
    with pytest.raises(BadInputError, match="draws each name once"):
        per_category_auc([row, row], criterion=0.7)
    with pytest.raises(BadInputError, match=r"The criterion must lie between 0 and 1[\s\S]*1\.7"):
        per_category_auc([row], criterion=1.7)
    for value, state in ((None, "missed"), (0.8, "lost")):
        with without_type_checks(), pytest.raises(BadInputError, match="missed or undecided"):
            category("a", value, state)


# --- the matrix -----------------------------------------------------------------------------------

VALUES = [[0.91, 0.52, None], [0.1, 0.5, 0.75]]
HOLDS = [[True, False, False], [True, False, False]]


def matrix(**overrides: Any) -> go.Figure:
    fields: dict[str, Any] = {
        "traits": ["harm", "evil", "alignment/sycophancy"],
        "categories": ["violence", "fraud"],
        "values": VALUES,
        "significant": HOLDS,
    }
    return trait_category_matrix(**{**fields, **overrides})


def test_cells_diverge_around_one_half_and_say_what_they_are() -> None:
    figure = matrix()
    cells = figure.data[0]
    assert [list(row) for row in cells.z] == [VALUES[1], VALUES[0]]
    assert (cells.zmin, cells.zmax) == (0, 1)
    assert cells.colorscale[1][0] == 0.5
    assert list(figure.layout.yaxis.ticktext) == ["fraud", "violence"]
    assert list(figure.layout.xaxis.ticktext) == ["harm", "evil", "alignment/<br>sycophancy"]
    assert cells.text[1][0] == "violence<br>harm: 0.910, significant"
    assert cells.text[0][1] == "fraud<br>evil: 0.500"
    assert cells.text[1][2] == "violence<br>alignment/sycophancy: too few"
    assert cells.hoverongaps


def test_significant_cells_are_bold_with_a_star_and_the_rest_faint() -> None:
    _, strong, faint = matrix().data
    assert list(zip(strong.x, strong.y, strong.text, strict=True)) == [
        (0, 1, "<b>0.91*</b>"),
        (0, 0, "<b>0.10*</b>"),
    ]
    assert list(zip(faint.x, faint.y, faint.text, strict=True)) == [
        (1, 1, "0.52"),
        (1, 0, "0.50"),
        (2, 0, "0.75"),
    ]
    assert strong.textfont.color != faint.textfont.color
    nothing = matrix(significant=[[False] * 3] * 2).data[1]
    assert len(nothing.x) == 0


def test_matrices_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadInputError, match=r"values needs one row per category[\s\S]*2 rows of 3"):
        matrix(values=[VALUES[0], [0.5]])
    with pytest.raises(BadInputError, match="significant needs one row per category"):
        matrix(significant=HOLDS[:1])
    with pytest.raises(BadInputError, match="without a number cannot be significant"):
        matrix(significant=[[True] * 3, [False] * 3])
    for bad in (1.2, math.nan):
        with pytest.raises(BadInputError, match="An AUROC must lie between 0 and 1"):
            matrix(values=[VALUES[0], [bad, 0.5, 0.5]])
    with pytest.raises(BadInputError, match="needs something to draw"):
        matrix(categories=[], values=[], significant=[])
    with pytest.raises(BadInputError, match="draws each name once"):
        matrix(traits=["a", "a", "b"])


# --- ROC ------------------------------------------------------------------------------------------


def test_curves_are_drawn_in_both_panels_and_named_with_their_area() -> None:
    curves = [curve("harm"), curve("words", "text"), curve("length", "length"), curve("f", "foil")]
    figure = roc(curves)
    left, right = (
        [trace for trace in figure.data if trace.name == "harm 0.80 [0.70, 0.90]"][side]
        for side in (0, 1)
    )
    assert (list(left.x), list(left.y)) == (
        list(curves[0].false_positive),
        list(curves[0].true_positive),
    )
    assert (left.xaxis, right.xaxis) == ("x", "x2")
    assert (left.showlegend, right.showlegend) == (True, False)
    looks = {(trace.line.color, trace.line.dash, trace.marker.symbol) for trace in figure.data}
    assert len(looks) == 1 + len(curves)
    greys = [
        trace.line.color for trace in figure.data if trace.name.startswith(("words", "length"))
    ]
    assert set(greys) == {"#7A7A7A"}


def test_the_logarithmic_panel_begins_at_the_smallest_rate_and_bends_straight_lines() -> None:
    figure = roc([curve("harm")])
    right = [trace for trace in figure.data if trace.xaxis == "x2"][1]
    assert figure.layout.xaxis2.type == "log"
    assert figure.layout.xaxis2.range[0] == pytest.approx(math.log10(0.002))
    assert min(right.x) == pytest.approx(0.002)
    assert list(right.x) == sorted(right.x)
    assert list(right.y) == sorted(right.y)
    middle = [(x, y) for x, y in zip(right.x, right.y, strict=True) if 0.002 < x < 0.5]
    assert len(middle) > 100
    for x, y in middle:
        assert y == pytest.approx(0.2 + 0.7 * (x - 0.002) / 0.498)
    rare = [shape.x0 for shape in figure.layout.shapes if shape.xref == "x2"]
    assert rare == [0.01, 0.05]


@pytest.mark.parametrize(("smallest", "least"), [(1e-5, 0.001), (0.003, 0.003), (0.4, 0.005)])
def test_the_lines_at_rare_rates_are_always_in_sight(smallest: float, least: float) -> None:
    rates = {"false_positive": (0.0, smallest, 1.0), "true_positive": (0.0, 0.5, 1.0)}
    figure = roc([curve("harm", **rates)])
    assert figure.layout.xaxis2.range[0] == pytest.approx(math.log10(least))


def test_curves_that_do_not_fit_are_refused() -> None:
    for rates in (
        {"true_positive": (0.0, 1.0)},
        {"true_positive": (0.0, 0.9, 0.2, 0.9, 1.0)},
        {"false_positive": (0.0, 0.1, 0.2, 0.3, 0.9)},
        {"false_positive": (), "true_positive": ()},
    ):
        with pytest.raises(BadInputError, match="both rising from 0 to 1"):
            curve("a", **rates)
    with (
        without_type_checks(),
        pytest.raises(BadInputError, match=r"no such role[\s\S]*claimed, combined"),
    ):
        curve("a", "hero")
    with pytest.raises(BadInputError, match="needs something to draw"):
        roc([])
    with pytest.raises(BadInputError, match="draws each name once"):
        roc([curve("a"), curve("a", "foil")])


# --- severity -------------------------------------------------------------------------------------


def test_means_rise_by_level_with_their_counts_and_gaps() -> None:
    rows = [
        SeverityRow(3, around(0.9), 1200),
        SeverityRow(0, around(0.1), 5),
        SeverityRow(1, None, 1),
    ]
    figure = severity(rows, what="severity level", unit="SD")
    (means,) = figure.data
    assert list(means.y) == [0.1, None, 0.9]
    assert means.error_y.array[0] == pytest.approx(0.1)
    assert [row[2] for row in means.customdata] == [5, 1, 1200]
    assert list(figure.layout.xaxis.ticktext) == [
        "0<br>n = 5",
        "1<br>n = 1<br>unscored",
        "3<br>n = 1,200",
    ]
    assert figure.layout.title.text == "Projection by severity level"
    assert figure.layout.yaxis.title.text == "mean projection (SD)"
    with pytest.raises(BadInputError, match="needs something to draw"):
        severity([], what="level", unit="SD")
    with pytest.raises(BadInputError, match=r"draws each name once[\s\S]*'3'"):
        severity([rows[0], rows[0]], what="level", unit="SD")
