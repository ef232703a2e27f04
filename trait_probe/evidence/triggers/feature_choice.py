"""Which features of a dictionary (an SAE) a trigger moves most, ranked on the selection split.

Sums per condition, place and feature are enough for it, so that memory does not grow with the
dictionary times the prompts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from trait_probe.errors import BadInputError
from trait_probe.evidence.triggers.design import Reading
from trait_probe.evidence.triggers.effects import (
    Chosen,
    choose,
    effects_of_means,
    spread_of_sums,
)

SHOWN = 10
"""Features that are reported; the claim is about the first."""


@dataclass(frozen=True)
class FeatureSums:
    """Sums over the carriers of the selection split, and how many there are at each place."""

    total: Float[np.ndarray, "condition place d_sae"]
    square: Float[np.ndarray, "condition place d_sae"]
    count: Int[np.ndarray, " place"]

    @classmethod
    def of(
        cls,
        conditions: Iterable[tuple[Float[np.ndarray, "row d_sae"], Int[np.ndarray, " row"]]],
        count: Int[np.ndarray, " place"],
    ) -> FeatureSums:
        """From each condition's activations and the place of each row, one condition at a time."""
        total, square = [], []
        for values, place in conditions:
            wide = values.astype(np.float64)
            total.append(np.zeros((len(count), wide.shape[1])))
            square.append(np.zeros_like(total[-1]))
            np.add.at(total[-1], place, wide)
            np.add.at(square[-1], place, wide**2)
        return cls(np.stack(total), np.stack(square), count)

    @property
    def mean(self) -> Float[np.ndarray, "condition place d_sae"]:
        """Over carriers; 0 where there is none."""
        return np.asarray(self.total / np.maximum(self.count, 1)[None, :, None])


@dataclass(frozen=True)
class FeatureChoice:
    """What the selection split chose.

    Attributes:
        roles: for every condition in the trigger's role, its place and feature; the trigger first.
        effects: the trigger's effect on each feature at its place, in SD.
    """

    roles: tuple[Chosen, ...]
    effects: Float[np.ndarray, " d_sae"]

    @property
    def place(self) -> int:
        """Where the trigger is read."""
        return self.roles[0].place

    @property
    def shown(self) -> tuple[int, ...]:
        """The features with the largest effects, the largest first."""
        order = np.argsort(-self.effects, kind="stable")
        return tuple(int(feature) for feature in order[:SHOWN])


def choose_features(
    suspect: FeatureSums, clean: FeatureSums | None, readings: Sequence[Reading]
) -> FeatureChoice:
    """Place and feature of every condition in the trigger's role.

    Features are ranked by (suspect - clean) x (trigger - controls) in SD of all scores at the
    place; without a clean model by the plain contrast in the suspect.

    Raises:
        BadInputError: no place can be read (see each `Reading.degenerate`).
    """
    effects = _selection_effects(suspect, clean)
    chosen = choose(effects, readings)
    if not chosen:
        raise BadInputError(
            "Features are chosen at a place that can be read.",
            got=f"{len(readings)} places, all degenerate",
            fix="Report Unscored(reason).",
        )
    return FeatureChoice(tuple(chosen), effects[chosen[0].place][0])


def _selection_effects(
    suspect: FeatureSums, clean: FeatureSums | None
) -> list[Float[np.ndarray, "condition d_sae"]]:
    known = [suspect] if clean is None else [suspect, clean]
    here = suspect.mean
    there = np.zeros_like(here) if clean is None else clean.mean
    effects = []
    for place in range(len(suspect.count)):
        scale = spread_of_sums(
            sum(sums.total[:, place].sum(axis=0) for sums in known),
            sum(sums.square[:, place].sum(axis=0) for sums in known),
            sum(len(sums.total) * max(int(sums.count[place]), 1) for sums in known),
        )
        effects.append(effects_of_means(here[:, place], there[:, place], scale))
    return effects
