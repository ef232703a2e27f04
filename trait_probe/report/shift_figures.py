"""Figures of shifts between models: how single prompts move, and how far at every layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from trait_probe.errors import BadInputError
from trait_probe.report import _marks as marks
from trait_probe.report._marks import CLEAN, INK, SUSPECT, Dot

_ROW_HEIGHT = 62  # pixels
_PANEL_HEIGHT = 190
_FRAME_HEIGHT = 230
_AXIS = "model minus base (SD of the base's prompts)"


@dataclass(frozen=True)
class ShiftRow:
    """How one trait moves from the base to the variant and to the controls, prompt by prompt.

    Args:
        trait: what the row is called, unique in the figure.
        variant: one number a prompt, in SD of the base.
        control: the same for the mean of the controls; None without one.
        supported: whether the claim about this trait is supported.
    """

    trait: str
    variant: tuple[float, ...]
    control: tuple[float, ...] | None
    supported: bool


@dataclass(frozen=True)
class LayerCurve:
    """One trait's mean shift at every layer, with bands that hold for the whole figure.

    Args:
        trait: its name.
        layers: ascending.
        variant, control: value and band per layer; control None without one.
        claimed: whether the run claims anything about the trait.
    """

    trait: str
    layers: tuple[int, ...]
    variant: tuple[Dot, ...]
    control: tuple[Dot, ...] | None
    claimed: bool

    def __post_init__(self) -> None:
        lengths = {len(self.variant), *([] if self.control is None else [len(self.control)])}
        if lengths != {len(self.layers)}:
            raise BadInputError(
                "A layer curve has one number a layer.",
                got=sorted(lengths),
                valid=(len(self.layers),),
            )


def trait_distributions(rows: Sequence[ShiftRow], subtitle: str) -> go.Figure:
    """Violins of the prompts' shifts: variant above, controls below, one row a trait.

    Raises:
        BadInputError: no rows, or two of one trait.
    """
    names = [row.trait for row in rows]
    if not rows or len(set(names)) < len(names):
        raise BadInputError("trait_distributions needs rows of different traits.", got=names)
    figure = go.Figure()
    for height, row in enumerate(reversed(rows)):
        figure.add_trace(_violin("variant", row.variant, height, SUSPECT, "positive"))
        if row.control is not None:
            figure.add_trace(_violin("controls, mean", row.control, height, CLEAN, "negative"))
    _legend_once(figure)
    figure.add_vline(x=0, line=marks.reference_line())
    title = "How each prompt's projection moves from the base"
    marks.style(figure, title, subtitle, height=_FRAME_HEIGHT + _ROW_HEIGHT * len(rows))
    figure.update_layout(violinmode="overlay", violingap=0.1)
    figure.update_xaxes(title_text=_AXIS)
    held = [f"<b>{marks.plain(r.trait)}</b>" if r.supported else marks.plain(r.trait) for r in rows]
    marks.name_rows(figure, list(reversed(held)))
    return figure


def _violin(name: str, values: Sequence[float], height: int, color: str, side: str) -> go.Violin:
    return go.Violin(
        x=list(values),
        y0=height,
        name=name,
        legendgroup=name,
        orientation="h",
        side=side,
        width=0.9,
        points=False,
        spanmode="hard",
        meanline={"visible": True, "color": INK, "width": 2},
        line={"color": color, "width": 1},
        fillcolor=color,
        opacity=0.7,
        scalemode="width",
        hoverinfo="x+name",
    )


def _legend_once(figure: go.Figure) -> None:
    seen: set[str] = set()
    for trace in figure.data:
        trace.showlegend = trace.name not in seen
        seen.add(trace.name)


def layer_profile(curves: Sequence[LayerCurve], subtitle: str) -> go.Figure:
    """One panel a trait: mean shift of variant and controls over layers.

    Raises:
        BadInputError: no curves, or two of one trait.
    """
    names = [curve.trait for curve in curves]
    if not curves or len(set(names)) < len(names):
        raise BadInputError("layer_profile needs curves of different traits.", got=names)
    columns = min(3, len(curves))
    n_rows = -(-len(curves) // columns)
    figure = make_subplots(
        rows=n_rows,
        cols=columns,
        shared_xaxes=True,
        shared_yaxes="all",
        horizontal_spacing=0.04,
        vertical_spacing=0.12,
        subplot_titles=[
            f"<b>{marks.plain(c.trait)}</b>" if c.claimed else marks.plain(c.trait) for c in curves
        ],
    )
    for index, curve in enumerate(curves):
        row, column = index // columns + 1, index % columns + 1
        for trace in _layer_traces(curve):
            figure.add_trace(trace, row=row, col=column)
        figure.add_hline(y=0, line=marks.reference_line(), row=row, col=column)
    _legend_once(figure)
    title = "Shift at every layer"
    marks.style(figure, title, subtitle, height=_FRAME_HEIGHT + _PANEL_HEIGHT * n_rows)
    figure.update_xaxes(title_text="layer", row=n_rows)
    figure.update_yaxes(title_text="SD of the base", col=1)
    return figure


def _layer_traces(curve: LayerCurve) -> list[go.Scatter]:
    traces = []
    both = [("controls, mean", curve.control, CLEAN, "square")]
    for name, found, color, symbol in [*both, ("variant", curve.variant, SUSPECT, "circle")]:
        if found is None:
            continue
        bounds = [(item.low, item.high) for item in found]
        traces.append(marks.band(f"{name}, band", curve.layers, bounds, color, 0.18))
        traces.append(marks.line(name, curve.layers, found, color, symbol))
    return traces
