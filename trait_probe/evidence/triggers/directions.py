"""Directions that mean nothing, scored at every place, and left to choose where as traits do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from trait_probe.evidence.nulls import after_choice
from trait_probe.evidence.triggers.effects import effects_of_means, spread, trigger_advantages


@dataclass(frozen=True)
class DirectionScores:
    """Scores of many directions at one place; `clean` None without a clean model."""

    suspect: Float[np.ndarray, "condition carrier draw"]
    clean: Float[np.ndarray, "condition carrier draw"] | None


@dataclass(frozen=True)
class Looks:
    """What the directions of one family score at one site.

    Attributes:
        selection: `[place draw]` AUROC advantage of the trigger on the selection split.
        report: `[place draw]` effect in SD on the report split.
    """

    selection: Float[np.ndarray, "place draw"]
    report: Float[np.ndarray, "place draw"]

    @classmethod
    def of(cls, places: Iterable[tuple[DirectionScores, DirectionScores]]) -> Looks:
        """From the scores at every readable place, on the selection and on the report split."""
        selection, report = [], []
        for chosen_on, reported_on in places:
            selection.append(trigger_advantages(chosen_on.suspect, chosen_on.clean))
            report.append(direction_effects(reported_on))
        return cls(np.stack(selection), np.stack(report))


def direction_effects(scores: DirectionScores) -> Float[np.ndarray, " draw"]:
    """As a trait's: (suspect - clean) x (trigger - controls), in SD within a control."""
    here, there = scores.suspect, scores.clean
    unit = spread(here if there is None else there)
    means = here.mean(axis=1, dtype=np.float64)
    baseline = np.zeros_like(means) if there is None else there.mean(axis=1, dtype=np.float64)
    return np.asarray(effects_of_means(means, baseline, unit)[0])


def effects_after_choice(looks: Sequence[Looks]) -> Float[np.ndarray, " draw"]:
    """What each direction reports at the place and site that it chose (`after_choice`).

    Args:
        looks: one family's, of every site that may be chosen; empty where nothing can be read,
            and so are the effects then.
    """
    if not looks:
        return np.zeros(0)
    return after_choice(
        np.concatenate([look.selection for look in looks]),
        np.concatenate([look.report for look in looks]),
    )
