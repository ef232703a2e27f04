"""Step 9: the run's numbers as the figures take them."""

from __future__ import annotations

import plotly.graph_objects as go

from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.experiments._prefill.compare import Path, Separated, strongest_foil
from trait_probe.experiments._prefill.find import Condition, Found
from trait_probe.experiments._prefill.reading import HEADER, LAST
from trait_probe.report import prefill_figures as draw
from trait_probe.report._marks import CLEAN, INK, NULL, SUSPECT, Dot
from trait_probe.report.figures import dot


def make_figures(found: Found) -> dict[str, go.Figure]:
    """The run's figures by file name."""
    return {
        "2x2_grid": draw.two_by_two(_cells(found)),
        "trajectory_divergence": draw.trajectory_divergence(
            [curve for trait in found.traits for curve in _curves(found, trait)]
        ),
        "prefill_length": draw.prefill_length(_behaviour(found), _effects(found)),
    }


def _cells(found: Found) -> list[draw.CellRow]:
    without, with_prefill = found.conditions[:2]
    refusal = (
        without.harmful.refusal,
        with_prefill.harmful.refusal,
        without.benign.refusal,
        with_prefill.benign.refusal,
    )
    rows = []
    if any(isinstance(rate, Estimate) for rate in refusal):
        rows.append(draw.CellRow("Refusals", "share", _four(refusal)))
    for trait, item in found.traits.items():
        own = next(row for row in item.compared if row.direction == trait)
        foil = strongest_foil(found.design, item.compared, HEADER)
        held = found.supported(trait, HEADER)
        rows.append(draw.CellRow(trait, "SD", _four(own.crossed.cells), held))
        rows.append(draw.CellRow(f"foil: {foil.direction}", "SD", _four(foil.crossed.cells)))
    return rows


def _four(
    cells: tuple[Estimate | Unscored, ...],
) -> tuple[Dot | None, Dot | None, Dot | None, Dot | None]:
    one, two, three, four = (dot(cell) for cell in cells)
    return one, two, three, four


def _curves(found: Found, trait: str) -> tuple[draw.PathCurve, draw.PathCurve]:
    item = found.traits[trait]
    held = found.supported(trait, LAST)
    return (
        _curve(item.path, f"{trait}, {item.sites[LAST]}", held),
        _curve(item.foil_path, f"foil: {item.foil_path.trait}, {item.sites[LAST]}", None),
    )


def _curve(path: Path, title: str, supported: bool | None) -> draw.PathCurve:
    bands = path.found.bands
    return draw.PathCurve(
        title=title,
        tokens=path.labels,
        values=tuple(
            Dot(float(value), float(low), float(high))
            for value, low, high in zip(bands.value, bands.low, bands.high, strict=True)
        ),
        same_words=path.found.alike,
        parts_at=None if supported is None else path.found.parts_at,
        supported=supported,
    )


def _behaviour(found: Found) -> list[draw.LengthCurve]:
    """Empty where nothing was judged."""

    def curve(name: str, color: str, symbol: str, rates: list[Estimate | Unscored]) -> None:
        if any(isinstance(rate, Estimate) for rate in rates):
            values = tuple(dot(rate) for rate in rates)
            curves.append(draw.LengthCurve(name, color, symbol, _lengths(found), values))

    curves: list[draw.LengthCurve] = []
    every: tuple[Condition, ...] = found.lengths
    curve("harmful refused", SUSPECT, "circle", [item.harmful.refusal for item in every])
    curve("harmful complied", INK, "diamond", [item.harmful.compliance for item in every])
    curve("benign complied", CLEAN, "square", [item.benign.compliance for item in every])
    return curves


def _lengths(found: Found) -> tuple[int, ...]:
    return tuple(item.tokens for item in found.lengths)


def _effects(found: Found) -> list[draw.LengthCurve]:
    trait, item = next(iter(found.traits.items()))
    lengths = tuple(variant.tokens for variant in item.sweep)

    def dots(place: str) -> tuple[Dot | None, ...]:
        return tuple(_d(getattr(variant, place)) for variant in item.sweep)

    return [
        draw.LengthCurve(
            f"{trait}, last prefill token", NULL, "square-open", lengths, dots("at_last")
        ),
        draw.LengthCurve(f"{trait}, header again", INK, "diamond-open", lengths, dots("at_header")),
    ]


def _d(separated: Separated | None) -> Dot | None:
    return None if separated is None else dot(separated.d)
