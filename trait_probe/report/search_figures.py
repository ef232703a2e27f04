"""Figures of searches: what every arm reaches, how fitness grows, which components differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from trait_probe.errors import BadInputError
from trait_probe.report import _marks as marks
from trait_probe.report._marks import CLEAN, INK, NULL, SUSPECT, Dot

_ROW_HEIGHT = 30  # pixels
_PANEL_HEIGHT = 260
_FRAME_HEIGHT = 230


@dataclass(frozen=True)
class ArmPanel:
    """One trait's arms.

    Args:
        trait: its name.
        supported: whether the gain is.
        arms: names and scores (0 to 1), in the order of rows; None where there is no score.
        null: scores of single random directions.
    """

    trait: str
    supported: bool
    arms: tuple[tuple[str, Dot | None], ...]
    null: tuple[float, ...]


@dataclass(frozen=True)
class SearchPanel:
    """One trait's searches: per seed, fitness by generation."""

    trait: str
    optimized: tuple[tuple[float, ...], ...]
    random: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class ComponentPanel:
    """One trait's components: names, the extracted vector's coordinate, and each seed's."""

    trait: str
    names: tuple[str, ...]
    extracted: tuple[float, ...]
    optimized: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.extracted) == len(self.optimized):
            raise BadInputError(
                "Every component has a name, a coordinate, and one for each seed.",
                got=(len(self.names), len(self.extracted), len(self.optimized)),
            )


@dataclass(frozen=True)
class QuestionPanel:
    """One trait's test questions: optimized minus extracted, -1 to 1."""

    trait: str
    differences: tuple[float, ...]


def arms(panels: Sequence[ArmPanel]) -> go.Figure:
    """Every arm's score, one panel a trait; the null's draws as grey ticks in a row of their own.

    Raises:
        BadInputError: no panels, or two of one trait.
    """
    _require(panels, "arms")
    figure = _stacked(panels, [len(panel.arms) + 1 for panel in panels])
    for row, panel in enumerate(panels, start=1):
        names = [name for name, _ in panel.arms][::-1]
        heights = [float(i) for i in range(1, len(names) + 1)]
        values = [value for _, value in panel.arms][::-1]
        color = SUSPECT if panel.supported else INK
        shape = "circle" if panel.supported else "circle-open"
        figure.add_trace(marks.dots("arm", heights, values, color, shape), row=row, col=1)
        null = marks.null_ticks("random direction", [0.0] * len(panel.null), panel.null)
        figure.add_trace(null, row=row, col=1)
        figure.update_yaxes(
            tickvals=[0, *heights],
            ticktext=["random directions", *map(marks.plain, names)],
            range=(-0.6, len(names) + 0.6),
            row=row,
            col=1,
        )
        figure.update_xaxes(range=(-0.05, 1.05), row=row, col=1)
    height = _FRAME_HEIGHT + sum(60 + _ROW_HEIGHT * (len(p.arms) + 1) for p in panels)
    subtitle = "Share of test questions answered coherently and with the trait, 95 % intervals"
    marks.style(figure, "How far each arm steers", subtitle, height=height)
    figure.update_xaxes(title_text="trait score of coherent answers", row=len(panels), col=1)
    figure.update_layout(showlegend=False)
    return figure


def optimization_curves(panels: Sequence[SearchPanel]) -> go.Figure:
    """Fitness of the best so far, evaluated again with each generation, one panel a trait.

    Raises:
        BadInputError: no panels, or two of one trait.
    """
    _require(panels, "optimization_curves")
    figure = _stacked(panels, [1] * len(panels))
    shown: set[str] = set()
    for row, panel in enumerate(panels, start=1):
        for name, curves, color, dash in (
            ("CMA-ES", panel.optimized, SUSPECT, "solid"),
            ("random search", panel.random, CLEAN, "dot"),
        ):
            for seed, values in enumerate(curves):
                figure.add_trace(
                    go.Scatter(
                        x=list(range(2, len(values) + 2)),
                        y=list(values),
                        name=name,
                        legendgroup=name,
                        showlegend=name not in shown,
                        mode="lines+markers" if len(values) < 3 else "lines",
                        line={"color": color, "width": 2, "dash": dash},
                        hovertemplate=f"{name}, seed {seed}, generation %{{x}}: %{{y:.3f}}",
                    ),
                    row=row,
                    col=1,
                )
                shown.add(name)
        figure.update_yaxes(title_text="fitness above the start", row=row, col=1)
    subtitle = "Training questions, drawn anew for each generation; one line a seed; no result"
    height = _FRAME_HEIGHT + _PANEL_HEIGHT * len(panels)
    marks.style(figure, "The best so far, evaluated again", subtitle, height=height)
    figure.update_xaxes(title_text="generation", row=len(panels), col=1)
    return figure


def component_differences(panels: Sequence[ComponentPanel]) -> go.Figure:
    """Coordinates of the extracted vector and of every seed, one panel a trait.

    Raises:
        BadInputError: no panels, or two of one trait.
    """
    _require(panels, "component_differences")
    figure = _stacked(panels, [1] * len(panels))
    for row, panel in enumerate(panels, start=1):
        places = [float(i) for i in range(len(panel.names))]
        figure.add_trace(
            _points("extracted", places, panel.extracted, CLEAN, "square", row == 1), row=row, col=1
        )
        seeds = [
            (i, value)
            for i, values in zip(places, panel.optimized, strict=True)
            for value in values
        ]
        figure.add_trace(
            _points(
                "optimized, one a seed",
                [i + 0.18 for i, _ in seeds],
                [value for _, value in seeds],
                SUSPECT,
                "circle-open",
                row == 1,
            ),
            row=row,
            col=1,
        )
        figure.add_hline(y=0, line=marks.reference_line(), row=row, col=1)
        figure.update_xaxes(
            tickvals=places, ticktext=list(map(marks.plain, panel.names)), row=row, col=1
        )
        figure.update_yaxes(title_text="coordinate", row=row, col=1)
    subtitle = "Unit directions within the subspace; a component's sign means nothing"
    height = _FRAME_HEIGHT + _PANEL_HEIGHT * len(panels)
    marks.style(figure, "Components that differ most", subtitle, height=height)
    return figure


def question_differences(panels: Sequence[QuestionPanel]) -> go.Figure:
    """How the optimized vector differs from the extracted one, question by question.

    Raises:
        BadInputError: no panels, or two of one trait.
    """
    _require(panels, "question_differences")
    figure = go.Figure()
    for height, panel in enumerate(reversed(panels)):
        ranked = sorted(panel.differences)
        # Equal values are spread over the row's height, so that every question shows.
        spread = [height - 0.3 + 0.6 * i / max(len(ranked) - 1, 1) for i in range(len(ranked))]
        figure.add_trace(
            go.Scatter(
                x=ranked,
                y=spread,
                mode="markers",
                marker={"color": [_side(value) for value in ranked], "size": 8, "opacity": 0.7},
                hovertemplate="%{x:.2f}",
                showlegend=False,
            )
        )
    figure.add_vline(x=0, line=marks.reference_line())
    subtitle = "Score on test questions, mean over seeds, one point a question; ranked within a row"
    height = _FRAME_HEIGHT + 130 * len(panels)
    marks.style(figure, "Optimized minus extracted", subtitle, height=height)
    figure.update_xaxes(title_text="difference of trait scores", range=(-1.05, 1.05))
    marks.name_rows(figure, [marks.plain(panel.trait) for panel in reversed(panels)])
    return figure


def _side(value: float) -> str:
    if value == 0.0:
        return NULL
    return SUSPECT if value > 0.0 else CLEAN


def _points(
    name: str, x: Sequence[float], y: Sequence[float], color: str, symbol: str, legend: bool
) -> go.Scatter:
    return go.Scatter(
        x=list(x),
        y=list(y),
        name=name,
        legendgroup=name,
        showlegend=legend,
        mode="markers",
        marker={"color": color, "size": 9, "symbol": symbol},
        hovertemplate=f"{name}: %{{y:.3f}}",
    )


def _stacked(
    panels: Sequence[ArmPanel | SearchPanel | ComponentPanel], heights: Sequence[int]
) -> go.Figure:
    spacing = 0.12 if len(panels) <= 4 else 0.4 / len(panels)
    return make_subplots(
        rows=len(panels),
        cols=1,
        subplot_titles=[marks.plain(panel.trait) for panel in panels],
        row_heights=[float(height) for height in heights],
        vertical_spacing=spacing,
    )


def _require(
    panels: Sequence[ArmPanel | SearchPanel | ComponentPanel | QuestionPanel], figure: str
) -> None:
    names = [panel.trait for panel in panels]
    if not panels or len(set(names)) < len(names):
        raise BadInputError(f"{figure} needs panels of different traits.", got=names)
