"""A 2x2 design of matched pairs: harmful or benign, without or with a treatment.

```
             without   with
harmful         C1       C2
benign          C3       C4
```

The two prompts of a pair are compared cell by cell, phrasings of one prompt averaged first, so that
whatever the pair shares (its topic, its frame) cancels and pairs are the independent units. All
effects are in one unit, the standard deviation within the cells on other rows (those that choose),
so that they add up: interaction = harm with the treatment - harm without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence._arrays import as_finite, cluster_codes, require_same_length
from trait_probe.evidence.detection import false_positive_rate
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.means import clustered_mean
from trait_probe.evidence.power import MIN_CLUSTERS
from trait_probe.evidence.significance import Alternative, sign_flip
from trait_probe.evidence.simultaneous import Simultaneous, simultaneous_means

UNIT = "SD"


@dataclass(frozen=True)
class PairMeans:
    """Both sides of every pair, phrasings averaged.

    Attributes:
        positive, negative: `[pair look]`, in the unit of the scores.
        pairs: their names, ascending.
    """

    positive: Float[np.ndarray, "pair look"]
    negative: Float[np.ndarray, "pair look"]
    pairs: tuple[str, ...]

    @property
    def difference(self) -> Float[np.ndarray, "pair look"]:
        """Positive minus negative."""
        return np.asarray(self.positive - self.negative)


@dataclass(frozen=True)
class Effect:
    """A mean over pairs with its interval, and the p value of flipping whole pairs."""

    estimate: Estimate
    p: float
    alternative: Alternative

    def to_json(self) -> dict[str, object]:
        """The estimate with its p value."""
        return {**self.estimate.to_json(), "p": self.p, "alternative": self.alternative}


@dataclass(frozen=True)
class Crossed:
    """The 2x2 in one unit.

    Attributes:
        cells: mean of each cell over pairs, C1 to C4, less the mean of C3.
        harm_without, harm_with: C1 - C3 and C2 - C4.
        treatment_harmful, treatment_benign: C2 - C1 and C4 - C3.
        interaction: (C2 - C1) - (C4 - C3).
    """

    cells: tuple[Estimate, Estimate, Estimate, Estimate]
    harm_without: Effect
    harm_with: Effect
    treatment_harmful: Effect
    treatment_benign: Effect
    interaction: Effect

    def to_json(self) -> dict[str, object]:
        """Cells by their names, effects by what they are."""
        cells = dict(zip(("C1", "C2", "C3", "C4"), self.cells, strict=True))
        return {
            "cells": {name: cell.to_json() for name, cell in cells.items()},
            "C1 - C3": self.harm_without.to_json(),
            "C2 - C4": self.harm_with.to_json(),
            "C2 - C1": self.treatment_harmful.to_json(),
            "C4 - C3": self.treatment_benign.to_json(),
            "(C2 - C1) - (C4 - C3)": self.interaction.to_json(),
        }


def pair_means(
    scores: Float[np.ndarray, "row look"], labels: Bool[np.ndarray, " row"], pairs: Sequence[str]
) -> PairMeans:
    """Mean of each side of each pair.

    Raises:
        BadInputError: a pair lacks a side, or scores are not finite.
        MismatchError: not one label and one pair per row.
    """
    rows = as_finite(scores, "The scores")
    require_same_length(len(rows), pairs, "pairs")
    if len(labels) != len(rows):
        raise MismatchError("Every row has a label.", got=len(labels), valid=(len(rows),))
    codes, n_pairs = cluster_codes(pairs)
    sides = []
    for side in (labels, ~labels):
        counts = np.bincount(codes[side], minlength=n_pairs)
        if not counts.all():
            lacking = sorted({pairs[int(i)] for i in np.flatnonzero(counts[codes] == 0)})
            raise BadInputError("Every pair needs rows of both labels.", got=lacking[:5])
        sums = np.zeros((n_pairs, rows.shape[1]))
        np.add.at(sums, codes[side], rows[side].astype(np.float64))
        sides.append(sums / counts[:, None])
    return PairMeans(sides[0], sides[1], tuple(sorted(set(pairs))))


def within_sd(
    scores: Float[np.ndarray, "row look"], cells: Sequence[str]
) -> Float[np.ndarray, " look"]:
    """Standard deviation of each look around the means of the cells, pooled; more than 0.

    Raises:
        BadInputError: no look varies within the cells, or there are no more rows than cells.
    """
    rows = as_finite(scores, "The scores", at_least=2).astype(np.float64)
    codes, n_cells = cluster_codes(cells)
    if len(rows) <= n_cells:
        raise BadInputError(
            "A spread within cells needs more rows than cells.", got=(len(rows), n_cells)
        )
    means = np.zeros((n_cells, rows.shape[1]))
    np.add.at(means, codes, rows)
    means /= np.bincount(codes, minlength=n_cells)[:, None]
    spread = np.sqrt(((rows - means[codes]) ** 2).sum(axis=0) / (len(rows) - n_cells))
    flat = spread <= 1e-12 * np.abs(rows).max(axis=0)
    if flat.any():
        raise BadInputError(
            "Scores that do not vary within the cells give no unit.",
            got=f"{int(flat.sum())} of {len(flat)} looks",
            fix="Read another place or another direction.",
        )
    return np.asarray(spread)


def crossed(
    cells: tuple[
        Float[np.ndarray, " pair"],
        Float[np.ndarray, " pair"],
        Float[np.ndarray, " pair"],
        Float[np.ndarray, " pair"],
    ],
    pairs: Sequence[str],
    *,
    unit: float,
    n: int,
    seed: int,
) -> Crossed:
    """Every effect of the 2x2, in units of `unit`.

    Student t intervals over pairs. p by flipping the signs of whole pairs (`sign_flip`): of harm
    towards more (the hypothesis says that harmful prompts score higher), else two-sided.

    Args:
        cells: C1 to C4, one entry per pair, in the unit of the scores.
        unit: size of one SD (`within_sd`).
        n: sign flips.

    Raises:
        BadInputError: fewer than two pairs, a unit that is not positive, or scores not finite.
        MismatchError: the cells have not the same pairs.
    """
    if not (np.isfinite(unit) and unit > 0.0):
        raise BadInputError("The unit of a 2x2 is a positive number.", got=unit)
    c1, c2, c3, c4 = (as_finite(cell, "A cell").astype(np.float64) / unit for cell in cells)
    names = list(pairs)

    def effect(values: Float[np.ndarray, " pair"], alternative: Alternative) -> Effect:
        flips = sign_flip(values, names, n=n, seed=seed, alternative=alternative)
        return Effect(clustered_mean(values, names, unit=UNIT), flips.p, alternative)

    zero = c3.mean()
    shown = [clustered_mean(cell - zero, names, unit=UNIT) for cell in (c1, c2, c3, c4)]
    return Crossed(
        cells=(shown[0], shown[1], shown[2], shown[3]),
        harm_without=effect(c1 - c3, "greater"),
        harm_with=effect(c2 - c4, "greater"),
        treatment_harmful=effect(c2 - c1, "two-sided"),
        treatment_benign=effect(c4 - c3, "two-sided"),
        interaction=effect((c2 - c1) - (c4 - c3), "two-sided"),
    )


@dataclass(frozen=True)
class Trajectory:
    """Paired differences place by place, with bands that hold for all places together.

    Attributes:
        bands: mean difference and simultaneous band of each place, in SD of the place.
        parts_at: first place from which on, up to the last one of `alike`, every band lies above
            0; None where there is none.
        alike: places at which both cells have the same words.
    """

    bands: Simultaneous
    parts_at: int | None
    alike: tuple[bool, ...]

    def to_json(self) -> dict[str, object]:
        """The bands, and where they part."""
        return {**self.bands.to_json(), "parts_at": self.parts_at, "same_words": list(self.alike)}


def trajectory(
    differences: Float[np.ndarray, "pair place"],
    pairs: Sequence[str],
    alike: Sequence[bool],
    *,
    unit: Float[np.ndarray, " place"],
    n: int,
    seed: int,
) -> Trajectory:
    """`simultaneous_means` of the differences, and the place where the sides part.

    Args:
        unit: size of one SD at each place.
        alike: whether both sides have the same words there; such places come first.
        n: sign flips.

    Raises:
        BadInputError: fewer than two pairs, or values not finite.
        MismatchError: not one entry of `alike` per place.
    """
    require_same_length(differences.shape[1], list(map(str, alike)), "alike")
    bands = simultaneous_means(differences / unit, list(pairs), n=n, seed=seed)
    above = [bool(low > 0.0) for low, same in zip(bands.low, alike, strict=True) if same]
    parts = next((at for at in range(len(above)) if all(above[at:])), None)
    return Trajectory(bands, parts, tuple(bool(same) for same in alike))


def share(flags: Bool[np.ndarray, " row"], groups: Sequence[str]) -> Estimate | Unscored:
    """Share of rows that are True, with `false_positive_rate`'s interval clustered by group.

    Unscored with fewer than two groups.
    """
    if len(set(groups)) < 2:
        return Unscored(f"{len(flags)} rows of {len(set(groups))} groups; 2 groups are needed")
    return false_positive_rate(0.5, flags.astype(np.float64), list(groups))


def too_few_of_a_class(labels: Bool[np.ndarray, " row"], groups: Sequence[str]) -> str | None:
    """Why two outcomes cannot be told apart: a class with too few groups; None where they can."""
    names = np.asarray(groups, dtype=np.str_)
    smaller = min(len(set(names[side].tolist())) for side in (labels, ~labels))
    if smaller >= MIN_CLUSTERS:
        return None
    return f"{smaller} pairs in the smaller class, {MIN_CLUSTERS} needed"
