"""Figures of the prefill experiment: the 2x2, the path along the tokens, the length of the prefill.

Pure functions from plain numbers, in the style of `report.figures`. A number that does not exist is
None, and nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from trait_probe.errors import BadInputError
from trait_probe.report import _marks as marks
from trait_probe.report._marks import CLEAN, INK, NULL, SUSPECT, Dot, plain

HARMFUL, BENIGN = SUSPECT, CLEAN
WORDS_DIFFER = "own continuation: the words differ"
CELLS = ("C4 benign, prefill", "C3 benign, none", "C2 harmful, prefill", "C1 harmful, none")
_BARS_NOTE = "Bars: 95 % intervals, clustered by pair."


@dataclass(frozen=True)
class CellRow:
    """Four numbers of one kind, C1 to C4; None where there is none.

    Args:
        title: of its panel.
        unit: of its axis.
        supported: whether a claim holds for it; None where none is made.
    """

    title: str
    unit: str
    cells: tuple[Dot | None, Dot | None, Dot | None, Dot | None]
    supported: bool | None = None


@dataclass(frozen=True)
class PathCurve:
    """Harmful minus benign along the tokens, in SD, with a band for all places together.

    Args:
        title: of its panel.
        tokens: what stands at each place.
        values: one per place.
        same_words: whether both cells have the same words there; such places come first.
        parts_at: place from which on the band lies above 0, if any.
        supported: whether the claim about the trait holds; None for a foil.
    """

    title: str
    tokens: tuple[str, ...]
    values: tuple[Dot, ...]
    same_words: tuple[bool, ...]
    parts_at: int | None
    supported: bool | None


@dataclass(frozen=True)
class LengthCurve:
    """A number over the length of the prefill, in tokens."""

    name: str
    color: str
    symbol: str
    lengths: tuple[int, ...]
    values: tuple[Dot | None, ...]


def two_by_two(rows: Sequence[CellRow]) -> go.Figure:
    """One panel per kind of number, the four cells below each other.

    Raises:
        BadInputError: no panel.
    """
    _require(rows, "two_by_two")
    figure = make_subplots(
        cols=len(rows),
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=[plain(_panel_title(row)) for row in rows],
    )
    for column, row in enumerate(rows, start=1):
        c1, c2, c3, c4 = row.cells
        for name, heights, values, color, symbol in (
            ("benign", (1.0, 0.0), (c3, c4), BENIGN, "square"),
            ("harmful", (3.0, 2.0), (c1, c2), HARMFUL, "circle"),
        ):
            trace = marks.dots(name, heights, values, color, symbol)
            trace.showlegend = column == 1
            figure.add_trace(trace, row=1, col=column)
        figure.update_xaxes(title_text=plain(row.unit), nticks=5, row=1, col=column)
        if row.supported is not None:
            figure.add_vline(x=0, line=marks.reference_line(), row=1, col=column)
    subtitle = f"Projections at the assistant header, in SD from C3. {_BARS_NOTE}"
    marks.style(figure, "Harmful or benign, without or with the prefill", subtitle, height=420)
    figure.update_annotations(font={"size": 12, "color": INK})
    marks.name_rows(figure, CELLS)
    return figure


def trajectory_divergence(curves: Sequence[PathCurve]) -> go.Figure:
    """One panel per direction: the paired difference C2 - C4, token by token.

    Raises:
        BadInputError: no panel.
    """
    _require(curves, "trajectory_divergence")
    figure = make_subplots(
        rows=len(curves),
        shared_xaxes=True,
        vertical_spacing=0.3 / len(curves),
        subplot_titles=[plain(curve.title) for curve in curves],
    )
    figure.update_annotations(x=0, xanchor="left")
    for index, curve in enumerate(curves, start=1):
        _add_path(figure, curve, index)
    title = "Harmful minus benign, token by token (C2 - C4)"
    subtitle = "Bands: 95 %, for all places of a panel together."
    marks.style(figure, title, subtitle, height=230 + 250 * len(curves))
    figure.update_yaxes(title_text="difference (SD)")
    last = curves[0]
    ticks = [marks.token_label(token) for token in last.tokens]
    figure.update_xaxes(tickvals=list(range(len(ticks))), ticktext=ticks, tickangle=-40)
    figure.update_xaxes(range=(-0.6, len(ticks) - 0.4))
    figure.update_xaxes(
        title_text="the header, the prefill, and each cell's own continuation",
        row=len(curves),
        col=1,
    )
    return figure


def prefill_length(behaviour: Sequence[LengthCurve], effects: Sequence[LengthCurve]) -> go.Figure:
    """Above: shares of answers; below: Cohen's d; both over the length of the prefill.

    Raises:
        BadInputError: nothing to draw.
    """
    _require([*behaviour, *effects], "prefill_length")
    figure = make_subplots(
        rows=2,
        shared_xaxes=True,
        vertical_spacing=0.12,
        subplot_titles=("Answers", "Harmful against benign, inside"),
    )
    figure.update_annotations(x=0, xanchor="left")
    for row, curves in ((1, behaviour), (2, effects)):
        for curve in curves:
            for trace in _length_traces(curve):
                figure.add_trace(trace, row=row, col=1)
    figure.add_hline(y=0, line=marks.reference_line(), row=2, col=1)
    marks.style(
        figure,
        "How many tokens of the prefill it takes",
        "Bands: 95 % intervals of one length each, clustered by pair.",
        height=640,
    )
    figure.update_yaxes(title_text="share", range=(-0.05, 1.05), row=1, col=1)
    figure.update_yaxes(title_text="Cohen's d (SD)", row=2, col=1)
    figure.update_xaxes(title_text="tokens of the prefill (0: none)", row=2, col=1)
    return figure


def _panel_title(row: CellRow) -> str:
    if row.supported is None:
        return row.title
    return f"{row.title} ({'supported' if row.supported else 'not supported'})"


def _add_path(figure: go.Figure, curve: PathCurve, index: int) -> None:
    at = {"row": index, "col": 1}
    places = list(range(len(curve.values)))
    ends = [(value.low, value.high) for value in curve.values]
    low, high = min(0.0, *(end[0] for end in ends)), max(0.0, *(end[1] for end in ends))
    differ = [place for place in places if not curve.same_words[place]]
    hatching = marks.hatching(differ, low, high)
    hatching.name, hatching.legendgroup, hatching.hovertemplate = (WORDS_DIFFER,) * 3
    color = NULL if curve.supported is None else HARMFUL
    symbol = "circle" if curve.supported else "circle-open"
    name = {
        True: "C2 - C4, supported",
        False: "C2 - C4, any other verdict",
        None: "C2 - C4, foil",
    }[curve.supported]
    band = marks.band(name, places, ends, color, 0.18)
    band.showlegend = False
    line = marks.line(name, places, list(curve.values), color, symbol)
    seen = {trace.name for trace in figure.data}
    for trace in (hatching, band, line):
        if trace is not band:
            trace.showlegend = trace.name not in seen
        figure.add_trace(trace, **at)
    figure.add_hline(y=0, line=marks.reference_line(), **at)
    if curve.parts_at is not None:
        figure.add_vline(
            x=curve.parts_at,
            line={"color": INK, "width": 1.5, "dash": "dash"},
            annotation={"text": "parted from here on"},
            annotation_position="bottom right",
            **at,
        )


def _length_traces(curve: LengthCurve) -> tuple[go.Scatter, go.Scatter]:
    ends = [None if value is None else (value.low, value.high) for value in curve.values]
    band = marks.band(curve.name, curve.lengths, ends, curve.color, 0.15)
    band.showlegend = False
    return band, marks.line(curve.name, curve.lengths, curve.values, curve.color, curve.symbol)


def _require(rows: Sequence[object], name: str) -> None:
    if not rows:
        raise BadInputError(f"{name} needs something to draw.", fix="Leave the figure out.")
