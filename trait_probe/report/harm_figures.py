"""Figures of the external data sets experiment: do trait projections predict harm in answers?

Pure functions from plain numbers, in the style of `report.figures`. A number that does not exist is
None, and nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import plotly.graph_objects as go

from trait_probe.errors import BadInputError
from trait_probe.report import _marks as marks
from trait_probe.report._labels import long_label, require_distinct, require_share
from trait_probe.report._marks import CLEAN, INK, NULL, SUSPECT, Dot, plain
from trait_probe.report.roc_figures import RocCurve, roc

__all__ = [
    "CategoryRow",
    "RocCurve",
    "SeverityRow",
    "per_category_auc",
    "roc",
    "severity",
    "trait_category_matrix",
]

State = Literal["found", "missed", "undecided"]

_CHANCE = 0.5
_STATES: dict[State, tuple[str, str]] = {
    "found": (CLEAN, "circle"),
    "missed": (SUSPECT, "x"),
    "undecided": (INK, "diamond-open"),
}
# Blue and orange lightened, so that dark numbers can be read on both ends.
_DIVERGING = ((0.0, "#6BAED6"), (0.5, "#F4F4F4"), (1.0, "#E8A06A"))
_DODGE = 0.17  # rows; keeps the text's mark off the projection's


@dataclass(frozen=True)
class CategoryRow:
    """How well the projection tells the unsafe answers of one category from safe ones.

    Args:
        category: its name, unique in the figure.
        projection, text: AUROC of the projection, and of a classifier that reads the text only.
        n_unsafe: unsafe answers of the category.
        state: found, missed (the projection does not tell them apart), or undecided.
    """

    category: str
    projection: Dot | None
    text: Dot | None
    n_unsafe: int
    state: State

    def __post_init__(self) -> None:
        if self.state not in _STATES or (self.projection is None and self.state != "undecided"):
            raise BadInputError(
                "A category is found, missed or undecided; undecided where there is no number.",
                got=(self.category, self.state),
                valid=tuple(_STATES),
            )


@dataclass(frozen=True)
class SeverityRow:
    """Mean projection of the answers of one level (with its interval), and how many there are."""

    level: int
    mean: Dot | None
    n: int


def per_category_auc(rows: Sequence[CategoryRow], *, criterion: float) -> go.Figure:
    """One line per harm category, in the order given: projection, text, unsafe answers, state.

    Args:
        criterion: the AUROC that was asked for, drawn as a thin line.

    Raises:
        BadInputError: no rows, two of one category, or a criterion outside [0, 1].
    """
    require_distinct([row.category for row in rows], "per_category_auc")
    require_share(criterion, "The criterion")
    lines = list(reversed(rows))
    text = marks.dots(
        "classifier of the text only",
        [height - _DODGE for height in range(len(lines))],
        [row.text for row in lines],
        NULL,
        "square",
    )
    text.marker.size = 7
    figure = go.Figure([text, *_state_traces(lines)])
    figure.add_vline(x=_CHANCE, line=marks.reference_line())
    figure.add_vline(x=criterion, line={"color": INK, "width": 1})
    figure.add_annotation(
        x=criterion, y=1, yref="paper", yanchor="bottom", text=f"{criterion:g}", showarrow=False
    )
    title = "Unsafe against safe answers, by harm category"
    subtitle = f"Bars: 95 % intervals. Line at {criterion:g}: the criterion."
    marks.style(figure, title, subtitle, height=230 + 44 * len(rows))
    _add_column(figure, lines)
    figure.update_xaxes(title_text="AUROC (0.5 = chance)", range=(-0.03, 1.03))
    marks.name_rows(figure, [long_label(row.category, row.projection is None) for row in lines])
    return figure


def trait_category_matrix(
    traits: Sequence[str],
    categories: Sequence[str],
    values: Sequence[Sequence[float | None]],
    significant: Sequence[Sequence[bool]],
) -> go.Figure:
    """AUROC of each trait (column) in each category (row), diverging around 0.5.

    Args:
        values: one row per category with one number per trait; None where there are too few
            answers.
        significant: the same shape: whether the number holds among all of the matrix. Such cells
            are bold with a star, others faint.

    Raises:
        BadInputError: no rows or columns, two of one name, another shape, a number outside [0, 1],
            or a significant cell without a number.
    """
    require_distinct(traits, "trait_category_matrix")
    require_distinct(categories, "trait_category_matrix")
    _require_matrix(traits, categories, values, significant)
    figure = go.Figure(_cells(traits, categories, values, significant))
    for wanted, font in (
        (True, {"size": 14, "color": "#000000"}),
        (False, {"size": 12, "color": "#5E5E5E"}),
    ):
        figure.add_trace(_numbers(values, significant, wanted, font))
    title = "AUROC of unsafe against safe answers, by trait and harm category"
    subtitle = "Bold with a star: significant after correction for all cells. Empty: too few."
    marks.style(figure, title, subtitle, height=190 + 38 * len(categories))
    figure.update_layout(margin_b=20)
    columns = [long_label(trait, width=14) for trait in traits]
    figure.update_xaxes(
        tickvals=list(range(len(traits))), ticktext=columns, showgrid=False, showline=False
    )
    figure.update_xaxes(range=(-0.5, len(traits) - 0.5))
    marks.name_rows(figure, [long_label(category) for category in reversed(categories)])
    figure.update_yaxes(range=(-0.5, len(categories) - 0.5), showgrid=False)
    return figure


def severity(rows: Sequence[SeverityRow], *, what: str, unit: str) -> go.Figure:
    """Mean projection per level, lowest level first.

    Args:
        what: what the levels are, such as "severity level" or "number of flagged categories (a
            proxy)".
        unit: of the means.

    Raises:
        BadInputError: no rows, or two of one level.
    """
    ordered = sorted(rows, key=lambda row: row.level)
    require_distinct([str(row.level) for row in ordered], "severity")
    places = [float(place) for place in range(len(ordered))]
    # A row's mark turned upright.
    flat = marks.dots("mean", places, [row.mean for row in ordered], SUSPECT, "circle")
    bars = flat.error_x.to_plotly_json()
    trace = go.Scatter(x=places, y=flat.x, error_y=bars, marker=flat.marker, name="mean")
    trace.update(mode="lines+markers", line={"color": SUSPECT, "width": 1}, connectgaps=False)
    trace.customdata = [[*ends, row.n] for ends, row in zip(flat.customdata, ordered, strict=True)]
    interval = "%{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]"
    trace.hovertemplate = interval + "<br>n = %{customdata[2]}<extra></extra>"
    figure = go.Figure(trace)
    title, subtitle = f"Projection by {plain(what)}", "Bars: 95 % intervals of the means."
    marks.style(figure, title, subtitle, height=480)
    unscored = ["" if row.mean is not None else "<br>unscored" for row in ordered]
    ticks = [
        f"{row.level}<br>n = {row.n:,}" + why for row, why in zip(ordered, unscored, strict=True)
    ]
    figure.update_xaxes(title_text=plain(what), tickvals=places, ticktext=ticks)
    figure.update_xaxes(range=(-0.5, len(ordered) - 0.5), showgrid=False)
    figure.update_yaxes(title_text=f"mean projection ({plain(unit)})")
    return figure


def _state_traces(lines: Sequence[CategoryRow]) -> list[go.Scatter]:
    traces = []
    for state, (color, symbol) in _STATES.items():
        kept = [at for at, row in enumerate(lines) if row.state == state and row.projection]
        heights, values = [float(at) for at in kept], [lines[at].projection for at in kept]
        trace = marks.dots(f"projection, {state}", heights, values, color, symbol)
        trace.marker.size = 13 if state == "missed" else 10
        beside = [[plain(lines[at].category), lines[at].n_unsafe] for at in kept]
        trace.customdata = [[*a, *b] for a, b in zip(trace.customdata, beside, strict=True)]
        trace.hovertemplate = (
            f"%{{customdata[2]}}<br>{state}: {trace.hovertemplate}"
            "<br>%{customdata[3]} unsafe answers<extra></extra>"
        )
        traces.append(trace)
    return [trace for trace in traces if trace.x]


def _add_column(figure: go.Figure, lines: Sequence[CategoryRow]) -> None:
    """Right of the plot: unsafe answers and state of each row, those missed in bold."""
    head: dict[str, Any] = {"y": 1, "yref": "paper", "yanchor": "bottom"}
    cells = [({"y": at}, f"{row.n_unsafe:,}", row.state) for at, row in enumerate(lines)]
    for place, count, state in [*cells, (head, "unsafe", "state")]:
        for x, anchor, text in ((1.1, "right", count), (1.12, "left", state)):
            figure.add_annotation(
                {"x": x, "xref": "paper", "xanchor": anchor, "showarrow": False, **place},
                text=f"<b>{text}</b>" if state == "missed" else text,
            )
    figure.update_layout(margin_r=185)


def _cells(
    traits: Sequence[str],
    categories: Sequence[str],
    values: Sequence[Sequence[float | None]],
    significant: Sequence[Sequence[bool]],
) -> go.Heatmap:
    hovers = [
        [
            f"{plain(category)}<br>{plain(trait)}: "
            + ("too few" if value is None else f"{value:.3f}" + (", significant" if holds else ""))
            for trait, value, holds in zip(traits, row, marked, strict=True)
        ]
        for category, row, marked in zip(categories, values, significant, strict=True)
    ]
    return go.Heatmap(
        z=[list(row) for row in reversed(values)],
        text=hovers[::-1],
        hovertemplate="%{text}<extra></extra>",
        hoverongaps=True,
        zmin=0.0,
        zmax=1.0,
        colorscale=[list(stop) for stop in _DIVERGING],
        xgap=2,
        ygap=2,
        colorbar={
            "title": {"text": "AUROC", "font": {"size": 14}},
            "thickness": 14,
            "outlinewidth": 0,
        },
    )


def _numbers(
    values: Sequence[Sequence[float | None]],
    significant: Sequence[Sequence[bool]],
    wanted: bool,
    font: dict[str, object],
) -> go.Scatter:
    found = [
        (column, len(values) - 1 - row, f"<b>{value:.2f}*</b>" if wanted else f"{value:.2f}")
        for row, numbers in enumerate(values)
        for column, value in enumerate(numbers)
        if value is not None and significant[row][column] is wanted
    ]
    x, y, text = (list(side) for side in zip(*found, strict=True)) if found else ([], [], [])
    return go.Scatter(
        x=x, y=y, text=text, textfont=font, mode="text", hoverinfo="skip", showlegend=False
    )


def _require_matrix(
    traits: Sequence[str],
    categories: Sequence[str],
    values: Sequence[Sequence[float | None]],
    significant: Sequence[Sequence[bool]],
) -> None:
    wanted = [len(traits)] * len(categories)
    for name, table in (("values", values), ("significant", significant)):
        if [len(row) for row in table] != wanted:
            raise BadInputError(
                f"trait_category_matrix: {name} needs one row per category, one cell per trait.",
                got=[len(row) for row in table],
                valid=(f"{len(categories)} rows of {len(traits)}",),
                fix="Put None where there is no number.",
            )
    for row, marked in zip(values, significant, strict=True):
        for value, holds in zip(row, marked, strict=True):
            if value is not None:
                require_share(value, "An AUROC")
            elif holds:
                raise BadInputError(
                    "A cell without a number cannot be significant.",
                    fix="Mark it False.",
                )
