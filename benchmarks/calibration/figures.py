"""The calibration's figures: error rates with intervals, power curves, what the guards catch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from benchmarks.calibration.rates import ALPHA
from trait_probe.report.save import find_chrome, save_figures

INK = ("#1b4f72", "#b9770e", "#7d3c98", "#117a65")
LAYOUT = {
    "template": "simple_white",
    "font": {"family": "DejaVu Sans, Arial, sans-serif", "size": 13},
    "paper_bgcolor": "white",
}


def save(results: dict[str, Any], folder: Path) -> None:
    """One HTML file (and PNG where a Chrome is found) per part that was run."""
    made = {}
    if rows := results.get("null"):
        made["calibration_null"] = null_figure(rows)
    if rows := results.get("power"):
        made["calibration_power"] = power_figure(rows)
    if rows := results.get("confounded"):
        made["calibration_confounded"] = confounded_figure(rows)
    save_figures(made, folder, find_chrome())


def null_figure(rows: list[dict[str, Any]]) -> go.Figure:
    """Rate of anything supported, with its interval, against alpha."""
    ordered = list(reversed(rows))
    names = [f"{r['experiment']}, {r['kind']}: {r['what']} ({r['source']})" for r in ordered]
    figure = go.Figure(
        go.Scatter(
            x=[r["rate"] for r in ordered],
            y=names,
            mode="markers",
            marker={"color": INK[0], "size": 9},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [r["high"] - r["rate"] for r in ordered],
                "arrayminus": [r["rate"] - r["low"] for r in ordered],
                "color": INK[0],
            },
        )
    )
    figure.add_vline(
        ALPHA, line={"dash": "dash", "color": "#922b21", "width": 2}, annotation_text="alpha"
    )
    figure.update_layout(
        **LAYOUT,
        title=f"Null studies ({rows[0]['studies']} each): share with anything supported",
        xaxis={"title": "share of studies", "range": [0, 0.12]},
        width=1180,
        height=120 + 30 * len(rows),
    )
    return figure


def power_figure(rows: list[dict[str, Any]]) -> go.Figure:
    """Share supported over d, a panel a kind, a line an n."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    columns = 3
    figure = make_subplots(
        rows=-(-len(kinds) // columns),
        cols=columns,
        subplot_titles=[_title(rows, kind) for kind in kinds],
        shared_yaxes=True,
        horizontal_spacing=0.04,
        vertical_spacing=0.19,
    )
    for number, kind in enumerate(kinds):
        sizes = sorted({row["n"] for row in rows if row["kind"] == kind})
        for n in sizes:
            some = [row for row in rows if row["kind"] == kind and row["n"] == n]
            colour = INK[(50, 100, 200).index(n) if n in (50, 100, 200) else 3]
            figure.add_trace(
                go.Scatter(
                    x=[row["d"] for row in some],
                    y=[row["rate"] for row in some],
                    mode="lines+markers",
                    name=f"n = {n}",
                    legendgroup=str(n),
                    showlegend=kind == kinds[0],
                    line={"color": colour},
                ),
                row=number // columns + 1,
                col=number % columns + 1,
            )
    figure.update_xaxes(title_text="planted d, SD", range=[0, 2.05])
    figure.update_yaxes(range=[0, 1.03])
    figure.update_layout(
        **LAYOUT, title="Planted effects: share supported", width=1180, height=1000
    )
    return figure


def _title(rows: list[dict[str, Any]], kind: str) -> str:
    n_is = next(row["n_is"] for row in rows if row["kind"] == kind)
    return f"{kind}<br>(n: {n_is})"


def confounded_figure(rows: list[dict[str, Any]]) -> go.Figure:
    """Share supported, with and without the guards."""
    ordered = list(reversed(rows))
    names = [f"{row['confound']} ({row['kind']})" for row in ordered]
    figure = go.Figure()
    for title, values, colour in (
        ("without the guards", [r["wrong_without_guards"]["rate"] for r in ordered], INK[1]),
        ("as it is", [1.0 - r["rate"] for r in ordered], INK[0]),
    ):
        figure.add_trace(
            go.Bar(x=values, y=names, orientation="h", name=title, marker={"color": colour})
        )
    figure.update_layout(
        **LAYOUT,
        title="Confounded studies: share with a wrong answer",
        xaxis={"title": "share of studies", "range": [0, 1.02]},
        barmode="group",
        width=1180,
        height=140 + 48 * len(rows),
    )
    return figure
