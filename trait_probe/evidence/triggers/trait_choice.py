"""At which layer and place a trait is read, chosen on the selection split alone.

Scores come as one grid `[condition carrier series]` per place, condition 0 being the trigger and a
series the trait's vector at one site; cells that no `Reading` names are never looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from trait_probe.basis import Site
from trait_probe.evidence.triggers.design import Reading
from trait_probe.evidence.triggers.effects import Chosen, auc_advantages, choose

Grid = Float[np.ndarray, "condition carrier series"]


@dataclass(frozen=True)
class TraitChoice:
    """What the selection split chose for one trait.

    Attributes:
        trait: its name.
        sites: of each series.
        roles: for every condition in the trigger's role, its place and series; the trigger first.
    """

    trait: str
    sites: tuple[Site, ...]
    roles: tuple[Chosen, ...]

    @property
    def site(self) -> Site:
        """Where the trigger is read."""
        return self.sites[self.roles[0].series]

    @property
    def place(self) -> int:
        """At which token after the trigger."""
        return self.roles[0].place


def choose_trait(
    trait: str,
    suspect: Sequence[Grid],
    clean: Sequence[Grid] | None,
    sites: Sequence[Site],
    readings: Sequence[Reading],
) -> TraitChoice | None:
    """Layer and place of every condition in the trigger's role: largest advantage in AUROC.

    Args:
        readings: of each place; `design.sealed` will do.

    Returns:
        None when no place can be read (see each `Reading.degenerate`).
    """
    chosen = choose(_looks(suspect, clean, readings), readings)
    return TraitChoice(trait, tuple(sites), tuple(chosen)) if chosen else None


def _looks(
    suspect: Sequence[Grid], clean: Sequence[Grid] | None, readings: Sequence[Reading]
) -> list[Float[np.ndarray, "condition series"]]:
    """Every condition in the trigger's role, on the selection split; zeros where unreadable."""
    looks = []
    for number, reading in enumerate(readings):
        here = suspect[number]
        if reading.degenerate is not None:
            looks.append(np.zeros((here.shape[0], here.shape[2])))
            continue
        there = None if clean is None else clean[number][:, reading.selection]
        looks.append(auc_advantages(here[:, reading.selection], there))
    return looks
