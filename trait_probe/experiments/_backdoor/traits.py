"""Step 3: each trait's projection, chosen on the selection split, reported on the report split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from trait_probe.basis import Site
from trait_probe.errors import TraitProbeError
from trait_probe.evidence.estimate import Estimate
from trait_probe.evidence.nulls import (
    PermutationResult,
    PretendNull,
    label_permutation,
    percentile,
    pretend_null,
)
from trait_probe.evidence.trigger_design import Reading
from trait_probe.evidence.trigger_effects import (
    Onset,
    auc_interval,
    auc_per_control,
    auc_pretend,
    choose,
    effect_interval,
    effect_of,
    effects_of_means,
    onset,
    spread,
)
from trait_probe.experiments._backdoor.conditions import Conditions
from trait_probe.forward.project import Projections

Grid = Float[np.ndarray, "condition carrier series"]
NullEffects = Callable[[Site, Reading], Mapping[str, Float[np.ndarray, " draw"]]]
"""Effects of directions that mean nothing, at a site and place, by the null's name."""


@dataclass(frozen=True)
class Draws:
    """How much is drawn at random, and from which seed."""

    n_boot: int
    n_permutations: int
    seed: int


@dataclass(frozen=True)
class PlaceAuc:
    """AUROC of trigger against controls at one place, at the layer that was chosen."""

    place: int
    suspect: Estimate
    clean: Estimate | None
    pretend: tuple[float, float]


@dataclass(frozen=True)
class TraitReading:
    """Everything that was found about one trait.

    `effect` is (suspect - clean) x (trigger - controls) in SD; without a clean model it is the
    plain contrast in the suspect, and no claim can rest on it.
    """

    trait: str
    site: Site
    place: int
    selection_effect: float
    effect: Estimate
    auc_suspect: Estimate
    auc_clean: Estimate | None
    auc_by_control: tuple[float, ...]
    auc_advantage: Estimate | None
    pretend_effects: tuple[float, ...]
    pretend: PretendNull
    permutation: PermutationResult
    percentiles: Mapping[str, float]
    null_draws: Mapping[str, int]
    onset: Onset | None
    curve: tuple[PlaceAuc, ...]


def grids(
    projections: Projections, conditions: Conditions, trait: str
) -> tuple[list[Grid], list[Site]]:
    """One trait's `dot` scores per place as `[condition carrier layer]`, and the layers' sites.

    Cells without a token hold 0 and are in no `Reading`.
    """
    columns = [i for i, (name, _) in enumerate(projections.columns) if name == trait]
    sites = [projections.columns[i][1] for i in columns]
    rows = _row_index(projections, conditions)
    values = projections.dot[:, columns]
    out = []
    for place in range(rows.shape[2]):
        present = rows[:, :, place] >= 0
        grid = np.zeros((*rows.shape[:2], len(columns)), dtype=np.float32)
        grid[present] = values[rows[:, :, place][present]]
        out.append(grid)
    return out, sites


def _row_index(projections: Projections, conditions: Conditions) -> np.ndarray:
    """Row of each (condition, carrier, place) in the projections; -1 where there is no token."""
    if projections.offset is None:
        raise TraitProbeError("Places are read token by token, not pooled.")
    n_conditions, n_carriers = len(conditions.names), len(conditions.carriers)
    rows = np.full((n_conditions, n_carriers, conditions.places.valid.shape[1]), -1)
    condition, carrier = np.divmod(projections.prompt, n_carriers)
    rows[condition, carrier, projections.offset] = np.arange(len(projections.prompt))
    return rows


def read_trait(
    trait: str,
    suspect: Sequence[Grid],
    clean: Sequence[Grid] | None,
    sites: Sequence[Site],
    readings: Sequence[Reading],
    null_effects: NullEffects,
    draws: Draws,
) -> TraitReading | None:
    """Choose layer and place on the selection split, then read the report split once.

    Returns:
        None when no place can be read (see each `Reading.degenerate`).
    """
    baseline = clean if clean is not None else [np.zeros_like(grid) for grid in suspect]
    unit_of = clean if clean is not None else suspect
    effects = [
        effects_of_means(
            here[:, reading.selection].mean(axis=1),
            there[:, reading.selection].mean(axis=1),
            spread(unit[:, reading.selection]),
        )
        if reading.degenerate is None
        else np.zeros((here.shape[0], here.shape[2]))
        for here, there, unit, reading in zip(suspect, baseline, unit_of, readings, strict=True)
    ]
    chosen = choose(effects, readings)
    if not chosen:
        return None
    pretend_effects = np.array(
        [
            _reported(suspect, baseline, unit_of, readings, pick.place, pick.series, condition)
            for condition, pick in enumerate(chosen)
        ]
    )
    best = chosen[0]
    reading = readings[best.place]
    rows = reading.report
    here, there, unit = (
        grid[best.place][:, rows, best.series] for grid in (suspect, baseline, unit_of)
    )
    scale = float(spread(unit[..., None])[0])
    boot = {"n_boot": draws.n_boot, "seed": draws.seed}
    effect = effect_interval(here, there, reading.clusters, scale=scale, **boot)
    nulls = null_effects(sites[best.series], reading)
    return TraitReading(
        trait=trait,
        site=sites[best.series],
        place=best.place,
        selection_effect=best.effect,
        effect=effect,
        auc_suspect=auc_interval(here, reading.clusters, **boot),
        auc_clean=None if clean is None else auc_interval(there, reading.clusters, **boot),
        auc_by_control=tuple(auc_per_control(here).tolist()),
        auc_advantage=None
        if clean is None
        else auc_interval(here, reading.clusters, against=there, **boot),
        pretend_effects=tuple(pretend_effects[1:].tolist()),
        pretend=pretend_null(effect.value, pretend_effects[1:]),
        permutation=label_permutation(
            (here - there).T.astype(np.float64),
            0,
            reading.clusters,
            draws.n_permutations,
            draws.seed,
        ),
        percentiles={name: percentile(effect.value, values) for name, values in nulls.items()},
        null_draws={name: len(values) for name, values in nulls.items()},
        onset=onset(
            [grid[..., best.series] for grid in suspect],
            [grid[..., best.series] for grid in baseline],
            readings,
            until=best.place,
            **boot,
        ),
        curve=_curve(suspect, clean, best.series, readings, draws),
    )


def _reported(
    suspect: Sequence[Grid],
    clean: Sequence[Grid],
    unit_of: Sequence[Grid],
    readings: Sequence[Reading],
    place: int,
    series: int,
    condition: int,
) -> float:
    rows = readings[place].report
    unit = unit_of[place][:, rows, series]
    return effect_of(
        suspect[place][:, rows, series],
        clean[place][:, rows, series],
        scale=float(spread(unit[..., None])[0]),
        condition=condition,
    )


def _curve(
    suspect: Sequence[Grid],
    clean: Sequence[Grid] | None,
    series: int,
    readings: Sequence[Reading],
    draws: Draws,
) -> tuple[PlaceAuc, ...]:
    boot = {"n_boot": max(draws.n_boot // 4, 200), "seed": draws.seed}
    points = []
    for reading in readings:
        if reading.degenerate is not None:
            continue
        here = suspect[reading.place][:, reading.report, series]
        pretend = auc_pretend(here)
        there = None if clean is None else clean[reading.place][:, reading.report, series]
        points.append(
            PlaceAuc(
                place=reading.place,
                suspect=auc_interval(here, reading.clusters, **boot),
                clean=None if there is None else auc_interval(there, reading.clusters, **boot),
                pretend=(float(pretend.min()), float(pretend.max())),
            )
        )
    return tuple(points)
