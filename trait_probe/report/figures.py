"""Figures that show an effect and its null in one look; pure functions from plain numbers.

Filled markers stand for supported claims, open ones for every other verdict. A number that does not
exist is None: its label says "unscored", and nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from trait_probe.errors import BadInputError
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.report import _marks as marks
from trait_probe.report._marks import CLEAN, DEGENERATE_NOTE, INK, NULL, SUSPECT, Dot, plain

_CHANCE = 0.5
_AUROC_AXIS = "AUROC (0.5 = chance)"
_AUROC_RANGE = (-0.03, 1.03)
_BARS_NOTE = "Bars: 95 % intervals."
_DODGE = 0.14  # rows; keeps two models of one row apart
_ROW_HEIGHT = 44  # pixels
_PANEL_HEIGHT = 230
_FRAME_HEIGHT = 210


@dataclass(frozen=True)
class TraitRow:
    """One trait in the comparison of a suspect with a clean model.

    Args:
        trait: its name, unique in the figure.
        effect: difference of differences (suspect minus clean, trigger minus controls), in SD.
        auc_suspect, auc_clean: AUROC of trigger against control prompts in each model, 0 to 1.
        pretend: the same effect with each control in the trigger's place, in SD.
        supported: whether the claim about this trait is supported.
    """

    trait: str
    effect: Dot | None
    auc_suspect: Dot | None
    auc_clean: Dot | None
    pretend: tuple[float, ...]
    supported: bool


@dataclass(frozen=True)
class PositionCurve:
    """How well one trait tells trigger from control prompts, token by token after the trigger.

    All tuples have one entry per offset; None where there is no number.

    Args:
        trait: its name.
        offsets: tokens after the end of the trigger, ascending.
        tokens: the text at each offset, or what it stands for ("varies").
        suspect, clean: AUROC with its interval, 0 to 1.
        pretend: lowest and highest AUROC in the suspect model when a control plays the trigger.
        degenerate: positions up to which every carrier has the same text.
        earliest: the first offset at which detection is supported, if any.
    """

    trait: str
    offsets: tuple[int, ...]
    tokens: tuple[str, ...]
    suspect: tuple[Dot | None, ...]
    clean: tuple[Dot | None, ...]
    pretend: tuple[tuple[float, float] | None, ...]
    degenerate: tuple[bool, ...]
    earliest: int | None = None

    def __post_init__(self) -> None:
        for name in ("tokens", "suspect", "clean", "pretend", "degenerate"):
            if len(getattr(self, name)) != len(self.offsets):
                raise BadInputError(
                    f"PositionCurve.{name} needs one entry per offset.",
                    got=len(getattr(self, name)),
                    valid=(len(self.offsets),),
                    fix="Put None where there is no number.",
                )
        evidence = [at for at, bad in zip(self.offsets, self.degenerate, strict=True) if not bad]
        if self.earliest is not None and self.earliest not in evidence:
            raise BadInputError(
                "The earliest supported offset must be one whose text differs between carriers.",
                got=self.earliest,
                valid=evidence,
                fix="Look for the earliest position among those that are not degenerate.",
            )


@dataclass(frozen=True)
class FeatureRow:
    """One SAE feature (or a dense probe), scored on the report split.

    Args:
        label: what the axis says, such as "feature 4012"; unique in the figure.
        suspect, clean: AUROC of trigger against control prompts in each model, 0 to 1.
        pretend_max: the highest AUROC in the suspect model when a control plays the trigger.
        supported: whether the claim about this feature is supported.
    """

    label: str
    suspect: Dot | None
    clean: Dot | None
    pretend_max: float | None
    supported: bool


def dot(estimate: Estimate | Unscored) -> Dot | None:
    """An estimate as a figure takes it; None when unscored."""
    if isinstance(estimate, Unscored):
        return None
    return Dot(estimate.value, estimate.low, estimate.high)


def trait_comparison(rows: Sequence[TraitRow]) -> go.Figure:
    """Left: each trait's effect over its pretend triggers. Right: AUROC in both models.

    Raises:
        BadInputError: no rows, or two of one trait.
    """
    _require_distinct([row.trait for row in rows], "trait_comparison")
    ordered = sorted(rows, key=lambda row: _sort_key(row.effect))
    names = [_label(row.trait, row.effect) for row in ordered]
    figure = make_subplots(
        cols=2,
        shared_yaxes=True,
        horizontal_spacing=0.05,
        subplot_titles=("Effect and null", "Trigger against control prompts"),
    )
    for trace in _effect_traces(ordered):
        figure.add_trace(trace, row=1, col=1)
    for trace in _auroc_traces(ordered):
        figure.add_trace(trace, row=1, col=2)
    figure.add_vline(x=0, line=marks.reference_line(), row=1, col=1)
    figure.add_vline(x=_CHANCE, line=marks.reference_line(), row=1, col=2)
    title = "Change of each trait at the trigger: suspect minus clean model"
    subtitle = f"Grey: the same effect with each control in the trigger's place. {_BARS_NOTE}"
    marks.style(figure, title, subtitle, height=_FRAME_HEIGHT + _ROW_HEIGHT * len(rows))
    figure.update_xaxes(title_text="difference of differences (SD)", row=1, col=1)
    figure.update_xaxes(title_text=_AUROC_AXIS, range=_AUROC_RANGE, row=1, col=2)
    marks.name_rows(figure, names)
    return figure


def early_detection(curves: Sequence[PositionCurve]) -> go.Figure:
    """One panel per trait: AUROC at each token after the trigger, over its pretend triggers.

    Raises:
        BadInputError: no curves, or two of one trait.
    """
    _require_distinct([curve.trait for curve in curves], "early_detection")
    figure = make_subplots(
        rows=len(curves),
        shared_xaxes=True,
        vertical_spacing=0.3 / len(curves),
        subplot_titles=[plain(curve.trait) for curve in curves],
    )
    figure.update_annotations(x=0, xanchor="left")
    for index, curve in enumerate(curves, start=1):
        _add_panel(figure, curve, index)
    title = "AUROC of trigger against control prompts, token by token after the trigger"
    subtitle = f"Bands: 95 % intervals of one token each. Hatched: {DEGENERATE_NOTE}."
    marks.style(figure, title, subtitle, height=_FRAME_HEIGHT + _PANEL_HEIGHT * len(curves))
    ticks = [0, 0.25, 0.5, 0.75, 1]
    figure.update_yaxes(title_text="AUROC", range=_AUROC_RANGE, tickvals=ticks)
    _label_offsets(figure, curves)
    return figure


def sae_features(rows: Sequence[FeatureRow], dense_probe: FeatureRow | None = None) -> go.Figure:
    """SAE features by their AUROC on the report split, with a dense probe above them.

    Raises:
        BadInputError: no rows, or two of one label.
    """
    _require_distinct([row.label for row in rows], "sae_features")
    ordered = sorted(rows, key=lambda row: _sort_key(row.suspect))
    ordered += [] if dense_probe is None else [dense_probe]
    names = [_label(row.label, row.suspect) for row in ordered]
    figure = go.Figure(_feature_traces(ordered))
    figure.add_vline(x=_CHANCE, line=marks.reference_line())
    if dense_probe is not None:
        figure.add_hline(y=len(rows) - 0.5, line={"color": NULL, "width": 1})
    title = "SAE features that tell trigger from control prompts (report split)"
    subtitle = f"Grey: the highest AUROC with a control in the trigger's place. {_BARS_NOTE}"
    marks.style(figure, title, subtitle, height=_FRAME_HEIGHT + _ROW_HEIGHT * len(ordered))
    figure.update_xaxes(title_text=_AUROC_AXIS, range=_AUROC_RANGE)
    marks.name_rows(figure, names)
    return figure


def _require_distinct(names: Sequence[str], figure: str) -> None:
    if not names:
        raise BadInputError(f"{figure} needs at least one row.", fix="Leave the figure out.")
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise BadInputError(
            f"{figure} draws one row per name.",
            got=doubled,
            fix="Give each row its own name, for instance with its site.",
        )


def _sort_key(value: Dot | None) -> float:
    return float("-inf") if value is None else value.value


def _label(name: str, value: Dot | None) -> str:
    return plain(name) if value is not None else f"{plain(name)} (unscored)"


def _effect_traces(rows: Sequence[TraitRow]) -> list[go.Scatter]:
    heights = [float(height) for height, row in enumerate(rows) for _ in row.pretend]
    pretend = [value for row in rows for value in row.pretend]
    effects, supported = [row.effect for row in rows], [row.supported for row in rows]
    return [
        marks.null_strip("pretend triggers (null)", heights, pretend),
        *marks.judged_dots("effect", _heights(rows), effects, INK, "diamond", supported),
    ]


def _auroc_traces(rows: Sequence[TraitRow]) -> list[go.Scatter]:
    suspect, clean = [row.auc_suspect for row in rows], [row.auc_clean for row in rows]
    return [
        marks.dots("clean model", _heights(rows, -_DODGE), clean, CLEAN, "square"),
        marks.dots("suspect model", _heights(rows, _DODGE), suspect, SUSPECT, "circle"),
    ]


def _feature_traces(rows: Sequence[FeatureRow]) -> list[go.Scatter]:
    above, below = _heights(rows, _DODGE), _heights(rows, -_DODGE)
    suspect, supported = [row.suspect for row in rows], [row.supported for row in rows]
    nulls = [row.pretend_max for row in rows]
    return [
        marks.null_ticks("best pretend trigger (null)", above, nulls),
        marks.dots("clean model", below, [row.clean for row in rows], CLEAN, "square"),
        *marks.judged_dots("suspect model", above, suspect, SUSPECT, "circle", supported),
    ]


def _heights(rows: Sequence[object], shift: float = 0.0) -> list[float]:
    return [height + shift for height in range(len(rows))]


def _add_panel(figure: go.Figure, curve: PositionCurve, index: int) -> None:
    at = {"row": index, "col": 1}
    for trace in _position_traces(curve):
        # One legend entry per name: the bands share theirs with their line.
        is_band = trace.fill == "toself" if isinstance(trace, go.Scatter) else False
        trace.showlegend = index == 1 and (not is_band or trace.name.startswith("pretend"))
        figure.add_trace(trace, **at)
    figure.add_hline(y=_CHANCE, line=marks.reference_line(), **at)
    if curve.earliest is not None:
        late = curve.earliest > (curve.offsets[0] + curve.offsets[-1]) / 2
        figure.add_vline(
            x=curve.earliest,
            line={"color": INK, "width": 1.5, "dash": "dash"},
            annotation={"text": f"earliest supported: +{curve.earliest}"},
            annotation_position="bottom left" if late else "bottom right",
            **at,
        )


def _position_traces(curve: PositionCurve) -> list[go.Scatter | go.Bar]:
    low, high = _AUROC_RANGE
    hatched = [at for at, bad in zip(curve.offsets, curve.degenerate, strict=True) if bad]
    models = (("clean model", curve.clean, CLEAN), ("suspect model", curve.suspect, SUSPECT))
    bands = [
        marks.band(name, curve.offsets, [_ends(value) for value in values], color, 0.18)
        for name, values, color in models
    ]
    return [
        marks.hatching(hatched, low, high),
        marks.band("pretend triggers (null)", curve.offsets, curve.pretend, NULL, 0.3),
        *bands,
        marks.line("clean model", curve.offsets, curve.clean, CLEAN, "square"),
        marks.line("suspect model", curve.offsets, curve.suspect, SUSPECT, "circle"),
    ]


def _ends(value: Dot | None) -> tuple[float, float] | None:
    return None if value is None else (value.low, value.high)


def _label_offsets(figure: go.Figure, curves: Sequence[PositionCurve]) -> None:
    """Offset and token under the last panel; the panels share one text after the trigger."""
    longest = max(curves, key=lambda curve: len(curve.offsets))
    labels = [
        f"+{offset}<br>{marks.token_label(token)}"
        for offset, token in zip(longest.offsets, longest.tokens, strict=True)
    ]
    first = min(min(curve.offsets) for curve in curves) - 0.5
    last = max(max(curve.offsets) for curve in curves) + 0.5
    figure.update_xaxes(tickvals=longest.offsets, ticktext=labels, range=(first, last))
    figure.update_xaxes(title_text="tokens after the trigger", row=len(curves), col=1)
