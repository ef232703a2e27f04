"""The marks figures are made of: dots with intervals, bands, hatching, and one plain style.

Colours are Okabe and Ito's (2008), which colour-blind readers tell apart too; every colour also has
its own marker shape.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from trait_probe.errors import BadInputError

SUSPECT = "#D55E00"
CLEAN = "#0072B2"
NULL = "#7A7A7A"
INK = "#222222"
GRID = "#E6E6E6"
FONT = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"
DEGENERATE_NOTE = "same prefix on every carrier: not evidence"

# Half the width of the band drawn for a position that has no neighbours (in tokens).
_LONE_HALF_WIDTH = 0.12


@dataclass(frozen=True)
class Dot:
    """A number with its interval, all in one unit; finite, `low <= high`."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        numbers = (self.value, self.low, self.high)
        if not all(map(math.isfinite, numbers)) or self.low > self.high:
            raise BadInputError(
                "A plotted interval needs finite numbers and low <= high.",
                got=numbers,
                fix="Use None where there is no number.",
            )


def plain(text: str) -> str:
    """`text` as plotly shows it literally: plotly reads a subset of HTML in every label."""
    return html.escape(text, quote=False)


def token_label(token: str) -> str:
    """A token as an axis label: white space made visible, long ones cut to 12 characters."""
    shown = token.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "·")
    return plain(shown if len(shown) <= 12 else shown[:11] + "…")


def reference_line() -> dict[str, Any]:
    """The line where there is no effect."""
    return {"color": "#555555", "width": 1, "dash": "dot"}


def dots(
    name: str, heights: Sequence[float], values: Sequence[Dot | None], color: str, symbol: str
) -> go.Scatter:
    """One marker with a horizontal interval at each height."""
    return go.Scatter(
        x=[None if dot is None else dot.value for dot in values],
        y=list(heights),
        name=name,
        mode="markers",
        marker={
            "color": color,
            "size": 10,
            "symbol": symbol,
            "line": {"width": 1.6, "color": color},
        },
        error_x=_error_bar(values),
        customdata=[[None, None] if dot is None else [dot.low, dot.high] for dot in values],
        hovertemplate="%{x:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]",
    )


def judged_dots(
    name: str,
    heights: Sequence[float],
    values: Sequence[Dot | None],
    color: str,
    symbol: str,
    supported: Sequence[bool],
) -> list[go.Scatter]:
    """Filled markers where the claim is supported, open ones elsewhere; a legend entry each."""
    traces = []
    for wanted, look, meaning in (
        (True, symbol, "supported"),
        (False, f"{symbol}-open", "any other verdict"),
    ):
        kept = [index for index, is_supported in enumerate(supported) if is_supported is wanted]
        chosen = [heights[index] for index in kept], [values[index] for index in kept]
        traces.append(dots(f"{name}, {meaning}", *chosen, color, look))
    return [trace for trace in traces if trace.x]


def null_strip(name: str, heights: Sequence[float], values: Sequence[float]) -> go.Scatter:
    """Faint dots: the same number where nothing is there."""
    return go.Scatter(
        x=list(values),
        y=list(heights),
        name=name,
        mode="markers",
        marker={"color": NULL, "size": 8, "symbol": "circle", "opacity": 0.4},
        hovertemplate=name + " %{x:.3f}",
    )


def null_ticks(name: str, heights: Sequence[float], values: Sequence[float | None]) -> go.Scatter:
    """One grey upright tick at each height: the best that the null reaches."""
    line = {"width": 3, "color": NULL}
    return go.Scatter(
        x=list(values),
        y=list(heights),
        name=name,
        mode="markers",
        marker={"color": NULL, "size": 15, "symbol": "line-ns", "line": line},
        hovertemplate=name + " %{x:.3f}",
    )


def line(
    name: str, offsets: Sequence[int], values: Sequence[Dot | None], color: str, symbol: str
) -> go.Scatter:
    """A curve over token offsets, broken where there is no number."""
    return go.Scatter(
        x=list(offsets),
        y=[None if dot is None else dot.value for dot in values],
        name=name,
        legendgroup=name,
        mode="lines+markers",
        line={"color": color, "width": 2},
        marker={"color": color, "size": 8, "symbol": symbol},
        connectgaps=False,
        hovertemplate="offset %{x}: %{y:.3f}",
    )


def band(
    name: str,
    offsets: Sequence[int],
    bounds: Sequence[tuple[float, float] | None],
    color: str,
    opacity: float,
) -> go.Scatter:
    """A filled band over token offsets; one polygon per stretch without a gap."""
    x: list[float | None] = []
    y: list[float | None] = []
    for stretch in _stretches(offsets, bounds):
        x += [at for at, _, _ in stretch] + [at for at, _, _ in reversed(stretch)] + [None]
        y += [high for _, _, high in stretch] + [low for _, low, _ in reversed(stretch)] + [None]
    return go.Scatter(
        x=x,
        y=y,
        name=name,
        legendgroup=name,
        mode="lines",
        line={"width": 0, "color": color},
        fill="toself",
        fillcolor=_rgba(color, opacity),
        hoverinfo="skip",
    )


def hatching(offsets: Sequence[int], low: float, high: float) -> go.Bar:
    """Hatched columns over positions that are no evidence."""
    pattern = {"shape": "/", "fgcolor": "#BDBDBD", "size": 7, "solidity": 0.2}
    return go.Bar(
        x=list(offsets),
        y=[high - low] * len(offsets),
        base=low,
        width=1,
        name=DEGENERATE_NOTE,
        legendgroup=DEGENERATE_NOTE,
        marker={"color": "#F4F4F4", "line": {"width": 0}, "pattern": pattern},
        hovertemplate=DEGENERATE_NOTE,
    )


def style(figure: go.Figure, title: str, subtitle: str, *, height: int) -> None:
    """White ground, one font, title and subtitle on the left, legend under the plot."""
    figure.update_layout(
        template="none",
        title={
            "text": title,
            "subtitle": {"text": subtitle, "font": {"size": 13, "color": "#555555"}},
            "x": 0,
            "xref": "container",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"t": 16, "l": 20},
            "font": {"size": 18},
        },
        font={"family": FONT, "size": 14, "color": INK},
        width=960,
        height=height,
        margin={"l": 20, "r": 20, "t": 110, "b": 100},
        legend={
            "orientation": "h",
            "x": 0,
            "xref": "container",
            "y": 0,
            "yref": "container",
            "yanchor": "bottom",
        },
        paper_bgcolor="white",
        plot_bgcolor="white",
        hoverlabel={"font": {"family": FONT}},
    )
    axis = {"gridcolor": GRID, "zeroline": False, "automargin": True, "title_font_size": 14}
    figure.update_xaxes(showline=True, **axis)
    figure.update_yaxes(showline=False, **axis)
    figure.update_annotations(font={"size": 14, "color": INK})


def name_rows(figure: go.Figure, names: Sequence[str]) -> None:
    """Name the heights 0, 1, 2, ... (bottom up); rows without any mark keep their place."""
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=list(names), range=(-0.6, len(names) - 0.4)
    )


def _error_bar(values: Sequence[Dot | None]) -> dict[str, Any]:
    # A percentile interval may miss its value; a negative bar length would be drawn reversed.
    return {
        "type": "data",
        "symmetric": False,
        "array": [0.0 if dot is None else max(dot.high - dot.value, 0.0) for dot in values],
        "arrayminus": [0.0 if dot is None else max(dot.value - dot.low, 0.0) for dot in values],
        "thickness": 1.6,
        "width": 0,
    }


def _stretches(
    offsets: Sequence[int], bounds: Sequence[tuple[float, float] | None]
) -> list[list[tuple[float, float, float]]]:
    """(x, low, high) grouped into gap-free stretches; a lone position is given some width."""
    stretches: list[list[tuple[float, float, float]]] = [[]]
    for offset, pair in zip(offsets, bounds, strict=True):
        if pair is None:
            stretches.append([])
        else:
            stretches[-1].append((float(offset), *pair))
    return [_widened(stretch) for stretch in stretches if stretch]


def _widened(stretch: list[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    if len(stretch) > 1:
        return stretch
    at, low, high = stretch[0]
    return [(at - _LONE_HALF_WIDTH, low, high), (at + _LONE_HALF_WIDTH, low, high)]


def _rgba(color: str, opacity: float) -> str:
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
