"""Step 3: each trait's projections as grids of scores; where it is read, and what is said there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trait_probe.basis import Site
from trait_probe.errors import TraitProbeError
from trait_probe.evidence.triggers.design import Reading
from trait_probe.evidence.triggers.reading import Draws, NullEffects, TraitReading, report_trait
from trait_probe.evidence.triggers.trait_choice import Grid, TraitChoice, choose_trait
from trait_probe.experiments._backdoor.conditions import Conditions
from trait_probe.forward.projections import Projections


@dataclass(frozen=True)
class TraitScores:
    """One trait's scores of all carriers, per place `[condition carrier layer]`.

    Attributes:
        suspect, clean: cells without a token hold 0 and are in no `Reading`; `clean` None without
            a clean model.
        sites: of the layers.
    """

    suspect: list[Grid]
    clean: list[Grid] | None
    sites: list[Site]


def trait_scores(
    conditions: Conditions,
    projections: tuple[Projections, Projections | None],
    traits: Sequence[str],
) -> dict[str, TraitScores]:
    """Each trait's `dot` scores in the suspect and the clean model."""
    found = {}
    for trait in traits:
        here, sites = _grids(projections[0], conditions, trait)
        there = None if projections[1] is None else _grids(projections[1], conditions, trait)[0]
        found[trait] = TraitScores(here, there, sites)
    return found


def choose_traits(
    scores: Mapping[str, TraitScores], readings: Sequence[Reading]
) -> dict[str, TraitChoice]:
    """Layer and place of each trait, on the selection split; none where no place can be read."""
    found = {}
    for trait, grids in scores.items():
        choice = choose_trait(trait, grids.suspect, grids.clean, grids.sites, readings)
        if choice is not None:
            found[trait] = choice
    return found


def report_traits(
    scores: Mapping[str, TraitScores],
    choices: Mapping[str, TraitChoice],
    readings: Sequence[Reading],
    nulls: Mapping[str, NullEffects],
    draws: Draws,
) -> dict[str, TraitReading]:
    """Each trait on the report split, where it was chosen to be read.

    Args:
        nulls: per trait, the effects of its null directions.
    """
    return {
        trait: report_trait(
            choice, scores[trait].suspect, scores[trait].clean, readings, nulls[trait], draws
        )
        for trait, choice in choices.items()
    }


def _grids(
    projections: Projections, conditions: Conditions, trait: str
) -> tuple[list[Grid], list[Site]]:
    columns = [i for i, (name, _) in enumerate(projections.columns) if name == trait]
    sites = [projections.columns[i][1] for i in columns]
    if projections.offset is None:
        raise TraitProbeError("Places are read token by token, not pooled.")
    rows = conditions.rows(
        projections.prompt, projections.offset, n_carriers=len(conditions.carriers)
    )
    values = projections.dot[:, columns]
    out = []
    for place in range(rows.shape[2]):
        present = rows[:, :, place] >= 0
        grid = np.zeros((*rows.shape[:2], len(columns)), dtype=np.float32)
        grid[present] = values[rows[:, :, place][present]]
        out.append(grid)
    return out, sites
