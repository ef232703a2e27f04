"""A trait's reading: what the report split says where the selection split chose to be read.

Choosing (`trait_choice`) and reporting are two steps, so that report rows can be opened
between them. Scores come as grids `[condition carrier series]`, one per place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from jaxtyping import Float, Int

from trait_probe.basis import Site
from trait_probe.evidence.estimate import Estimate
from trait_probe.evidence.nulls import (
    PermutationResult,
    PretendNull,
    label_permutation,
    n_distinct,
    percentile,
    pretend_null,
)
from trait_probe.evidence.triggers.design import Reading
from trait_probe.evidence.triggers.effects import Chosen, cluster_sd, effect_of, spread
from trait_probe.evidence.triggers.intervals import (
    auc_interval,
    auc_per_control,
    auc_pretend,
    effect_interval,
)
from trait_probe.evidence.triggers.onset import Onset, onset
from trait_probe.evidence.triggers.trait_choice import Grid, TraitChoice, choose_trait

NullEffects = Mapping[str, Float[np.ndarray, " draw"]]
"""By family, the effects of directions that mean nothing, where each chose to be read."""


class Boot(TypedDict):
    """Keywords of every bootstrap."""

    n_boot: int
    seed: int


@dataclass(frozen=True)
class Draws:
    """How much is drawn at random, and from which seed."""

    n_boot: int
    n_permutations: int
    seed: int

    @property
    def boot(self) -> Boot:
        """For the intervals of a claim."""
        return {"n_boot": self.n_boot, "seed": self.seed}

    @property
    def fewer(self) -> Boot:
        """For the many intervals of a curve."""
        return {"n_boot": max(self.n_boot // 4, 200), "seed": self.seed}


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
    plain contrast in the suspect, and no claim can rest on it. `cluster_sd` is the SD of its
    clusters' means, in the same unit.
    """

    trait: str
    site: Site
    place: int
    selection_advantage: float
    effect: Estimate
    cluster_sd: float
    auc_suspect: Estimate
    auc_clean: Estimate | None
    auc_by_control: tuple[float, ...]
    auc_advantage: Estimate | None
    pretend_effects: tuple[float, ...]
    pretend: PretendNull
    permutation: PermutationResult
    percentiles: Mapping[str, float]
    null_draws: Mapping[str, int]
    null_distinct: Mapping[str, int]
    onset: Onset | None
    curve: tuple[PlaceAuc, ...]


def read_trait(
    trait: str,
    suspect: Sequence[Grid],
    clean: Sequence[Grid] | None,
    sites: Sequence[Site],
    readings: Sequence[Reading],
    nulls: NullEffects,
    draws: Draws,
) -> TraitReading | None:
    """`choose_trait`, then `report_trait` of what it chose; None when no place can be read."""
    choice = choose_trait(trait, suspect, clean, sites, readings)
    return None if choice is None else report_trait(choice, suspect, clean, readings, nulls, draws)


def report_trait(
    choice: TraitChoice,
    suspect: Sequence[Grid],
    clean: Sequence[Grid] | None,
    readings: Sequence[Reading],
    nulls: NullEffects,
    draws: Draws,
) -> TraitReading:
    """What was chosen, on the report split; the grids are those that it was chosen in."""
    models, best = _Models(suspect, clean), choice.roles[0]
    reported = np.array(
        [_report_effect(models, readings, pick, row) for row, pick in enumerate(choice.roles)]
    )
    return TraitReading(
        trait=choice.trait,
        site=choice.site,
        place=choice.place,
        selection_advantage=best.score,
        pretend_effects=tuple(reported[1:].tolist()),
        pretend=pretend_null(float(reported[0]), reported[1:]),
        percentiles={name: percentile(reported[0], values) for name, values in nulls.items()},
        null_draws={name: len(values) for name, values in nulls.items()},
        null_distinct={name: n_distinct(values) for name, values in nulls.items()},
        onset=_onset(models, best, readings, draws),
        curve=_curve(suspect, clean, best.series, readings, draws),
        **_on_report(models, best, readings[best.place], draws),
    )


class _OnReport(TypedDict):
    """The part of a `TraitReading` that one place of the report split says."""

    effect: Estimate
    cluster_sd: float
    auc_suspect: Estimate
    auc_clean: Estimate | None
    auc_by_control: tuple[float, ...]
    auc_advantage: Estimate | None
    permutation: PermutationResult


def _on_report(models: _Models, best: Chosen, reading: Reading, draws: Draws) -> _OnReport:
    here, there, scale = models.at(best.place, reading.report, best.series)
    clusters, boot, alone = reading.clusters, draws.boot, models.clean is None
    return {
        "effect": effect_interval(here, there, clusters, scale=scale, **boot),
        "cluster_sd": cluster_sd(here, there, clusters, scale=scale),
        "auc_suspect": auc_interval(here, clusters, **boot),
        "auc_clean": None if alone else auc_interval(there, clusters, **boot),
        "auc_by_control": tuple(auc_per_control(here).tolist()),
        "auc_advantage": None if alone else auc_interval(here, clusters, against=there, **boot),
        "permutation": label_permutation(
            (here.astype(np.float64) - there).T, 0, clusters, draws.n_permutations, draws.seed
        ),
    }


def _onset(
    models: _Models, best: Chosen, readings: Sequence[Reading], draws: Draws
) -> Onset | None:
    return onset(
        [grid[..., best.series] for grid in models.suspect],
        [grid[..., best.series] for grid in models.baseline],
        readings,
        until=best.place,
        **draws.boot,
    )


@dataclass(frozen=True)
class _Models:
    """Scores per place of the suspect and, where there is one, of the clean model."""

    suspect: Sequence[Grid]
    clean: Sequence[Grid] | None

    @property
    def baseline(self) -> Sequence[Grid]:
        """What is subtracted: zeros without a clean model, so that nothing is claimed from it."""
        return [np.zeros_like(grid) for grid in self.suspect] if self.clean is None else self.clean

    def at(
        self, place: int, carriers: Int[np.ndarray, " _n"], series: int
    ) -> tuple[
        Float[np.ndarray, "condition carrier"], Float[np.ndarray, "condition carrier"], float
    ]:
        """One series of both models at one place, and its unit over the same carriers."""
        here = self.suspect[place][:, carriers, series]
        unit = here if self.clean is None else self.clean[place][:, carriers, series]
        there = np.zeros_like(here) if self.clean is None else unit
        return here, there, float(spread(unit[..., None])[0])


def _report_effect(
    models: _Models, readings: Sequence[Reading], pick: Chosen, condition: int
) -> float:
    rows = readings[pick.place].report
    here, there, scale = models.at(pick.place, rows, pick.series)
    return effect_of(here, there, scale=scale, condition=condition)


def _curve(
    suspect: Sequence[Grid],
    clean: Sequence[Grid] | None,
    series: int,
    readings: Sequence[Reading],
    draws: Draws,
) -> tuple[PlaceAuc, ...]:
    boot = draws.fewer
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
