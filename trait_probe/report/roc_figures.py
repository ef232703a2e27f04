"""ROC curves of detectors, with a close look at few false positives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from trait_probe.errors import BadInputError
from trait_probe.report import _marks as marks
from trait_probe.report._labels import require_distinct
from trait_probe.report._marks import CLEAN, INK, NULL, SUSPECT, Dot, plain

Role = Literal["claimed", "combined", "text", "length", "foil"]

_CHANCE = 0.5
_DASHES: dict[Role, str] = {
    "claimed": "solid",
    "combined": "dash",
    "text": "solid",
    "length": "dot",
    "foil": "dashdot",
}
# Okabe and Ito's, for curves that the role does not paint grey.
_COLORS = (SUSPECT, CLEAN, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)
_SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x", "star")
_LEAST_RATE, _RARE_RATES = 0.001, (0.01, 0.05)


@dataclass(frozen=True)
class RocCurve:
    """The operating points of one detector; false positive rates rise from 0 to 1.

    Args:
        name: unique in the figure.
        false_positive, true_positive: shares of safe and of unsafe answers flagged.
        auroc: the area with its interval.
        role: what it stands for: a claim, a foil, the combination of traits, the text or its
            length.
    """

    name: str
    false_positive: tuple[float, ...]
    true_positive: tuple[float, ...]
    auroc: Dot
    role: Role

    def __post_init__(self) -> None:
        if self.role not in _DASHES:
            raise BadInputError(
                "There is no such role of a curve.", got=self.role, valid=tuple(_DASHES)
            )
        both = (self.false_positive, self.true_positive)
        rising = all(list(rates) == sorted(rates) for rates in both)
        if len(both[0]) != len(both[1]) or not rising or _ends(both) != [(0.0, 1.0)] * 2:
            raise BadInputError(
                "A ROC curve has one true per false positive rate, both rising from 0 to 1.",
                got=(self.name, f"{len(both[0])} and {len(both[1])} rates", *_ends(both)),
                fix="Pass the curve from (0, 0) to (1, 1), lowest false positive rate first.",
            )


def roc(curves: Sequence[RocCurve]) -> go.Figure:
    """ROC curves; on the right with a logarithmic axis, where few safe answers are flagged.

    A browser draws every point: leave those on straight stretches out.

    Raises:
        BadInputError: no curves, or two of one name.
    """
    require_distinct([curve.name for curve in curves], "roc")
    figure = make_subplots(
        cols=2,
        shared_yaxes=True,
        horizontal_spacing=0.05,
        subplot_titles=("All thresholds", "Few false positives (logarithmic)"),
    )
    least = _least_rate(curves)
    chance = RocCurve("chance", (0.0, 1.0), (0.0, 1.0), Dot(_CHANCE, _CHANCE, _CHANCE), "text")
    for column, floor in ((1, None), (2, least)):
        x, y = _points(chance, floor)
        diagonal = go.Scatter(x=x, y=y, mode="lines", line=marks.reference_line())
        diagonal.update(name="chance", showlegend=False, hoverinfo="skip")
        figure.add_trace(diagonal, row=1, col=column)
        for index, curve in enumerate(curves):
            trace = _curve(curve, index, floor)
            trace.showlegend = column == 1
            figure.add_trace(trace, row=1, col=column)
    for rate in _RARE_RATES:
        figure.add_vline(x=rate, line={"color": INK, "width": 1}, row=1, col=2)
    title = "Unsafe answers caught, by safe answers flagged"
    subtitle = "In the legend: AUROC with its 95 % interval. Thin lines: 1 % and 5 %."
    marks.style(figure, title, subtitle, height=560 + 22 * math.ceil(len(curves) / 2))
    figure.update_xaxes(title_text="false positive rate", range=(-0.02, 1.02), row=1, col=1)
    ticks = [rate for rate in (0.001, 0.01, 0.05, 0.1, 1.0) if rate >= least]
    figure.update_xaxes(title_text="false positive rate", type="log", row=1, col=2)
    figure.update_xaxes(
        tickvals=ticks, ticktext=[f"{100 * rate:g} %" for rate in ticks], row=1, col=2
    )
    figure.update_xaxes(range=(math.log10(least), 0.02), row=1, col=2)
    figure.update_yaxes(range=(-0.02, 1.02))
    figure.update_yaxes(title_text="true positive rate", row=1, col=1)
    return figure


def _curve(curve: RocCurve, index: int, floor: float | None) -> go.Scatter:
    x, y = _points(curve, floor)
    grey = curve.role in ("text", "length")
    color = NULL if grey else _COLORS[index % len(_COLORS)]
    area = f"{curve.auroc.value:.2f} [{curve.auroc.low:.2f}, {curve.auroc.high:.2f}]"
    return go.Scatter(
        x=x,
        y=y,
        name=f"{plain(curve.name)} {area}",
        legendgroup=plain(curve.name),
        mode="lines+markers",
        line={
            "color": color,
            "dash": _DASHES[curve.role],
            "width": 3 if curve.role == "claimed" else 2,
        },
        # A few marks along the line, so that curves are told apart by more than colour.
        marker={"symbol": _SYMBOLS[index % len(_SYMBOLS)], "size": 8, "maxdisplayed": 8},
        hovertemplate="flagged %{x:.2%}, caught %{y:.2%}",
    )


def _points(curve: RocCurve, floor: float | None) -> tuple[list[float], list[float]]:
    """The curve; above a floor with points between, as a straight line is none on a log axis."""
    x, y = np.asarray(curve.false_positive), np.asarray(curve.true_positive)
    if floor is not None:
        between = np.geomspace(floor, 1.0, 200)
        heights = np.interp(between, x, y)
        x, y = np.concatenate([x[x > floor], between]), np.concatenate([y[x > floor], heights])
        order = np.lexsort((y, x))
        x, y = x[order], y[order]
    return x.tolist(), y.tolist()


def _least_rate(curves: Sequence[RocCurve]) -> float:
    """Where the logarithmic axis begins: the smallest rate above 0, in [0.001, 0.005]."""
    rates = [rate for curve in curves for rate in curve.false_positive if rate > 0.0]
    return min(max(min(rates), _LEAST_RATE), 0.005)


def _ends(rates: Sequence[tuple[float, ...]]) -> list[tuple[float, float] | None]:
    return [(side[0], side[-1]) if side else None for side in rates]
