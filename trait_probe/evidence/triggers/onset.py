"""From which token after the trigger on its effect exceeds every pretend trigger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from trait_probe.evidence._arrays import cluster_codes
from trait_probe.evidence.triggers.design import Reading
from trait_probe.evidence.triggers.effects import contrasts


@dataclass(frozen=True)
class Onset:
    """The earliest readable place from which the effect stays beyond every pretend trigger.

    Attributes:
        place: tokens after the trigger, from 0.
        low, high: 95 % interval of the place, over resamples in which there was one; `place`
            lies inside.
        share: share of resamples in which there was one.
        first_readable: the earliest place that could be read. Where `place` equals it, the effect
            may have begun before.
    """

    place: int
    low: int
    high: int
    share: float
    first_readable: int


def onset(
    suspect: Sequence[Float[np.ndarray, "condition carrier"]],
    clean: Sequence[Float[np.ndarray, "condition carrier"]],
    readings: Sequence[Reading],
    *,
    until: int,
    n_boot: int,
    seed: int,
) -> Onset | None:
    """Earliest place from which, up to `until`, the trigger's effect is positive and beyond all.

    A place just before the true onset is taken for it when the trigger happens to exceed every
    pretend trigger there, about once in (controls + 1): read the interval, not the place alone.
    Carriers are resampled together over all places, so that a resample is one possible study.

    Args:
        suspect, clean: per reading, scores of one series over all carriers.
        until: the chosen place; later ones are not looked at.

    Returns:
        None where the effect at `until` itself is not beyond every pretend trigger.
    """
    seen = [
        (reading, contrasts(here[..., None])[..., 0] - contrasts(there[..., None])[..., 0])
        for here, there, reading in zip(suspect, clean, readings, strict=True)
        if reading.degenerate is None and reading.place <= until
    ]
    if not seen:
        return None
    used = [reading for reading, _ in seen]
    carriers, weights = _weights(used, n_boot, seed)
    ahead = np.stack(
        [
            _ahead(effects[:, reading.report], weights[:, np.isin(carriers, reading.report)])
            for reading, effects in seen
        ]
    )
    first = _sustained_from(ahead)
    return _summary(first, [reading.place for reading in used]) if first[0] >= 0 else None


def _summary(first: Int[np.ndarray, " draw"], places: Sequence[int]) -> Onset:
    place = places[int(first[0])]
    found = np.array(places)[first[1:][first[1:] >= 0]]
    # Without any resample that found one, nothing is known but the places that were looked at.
    known = found if len(found) else np.array(places)
    low, high = np.quantile(known, [0.025, 0.975], method="nearest")
    return Onset(
        place=place,
        low=min(place, int(low)),
        high=max(place, int(high)),
        share=float((first[1:] >= 0).mean()),
        first_readable=places[0],
    )


def _weights(
    readings: Sequence[Reading], n_boot: int, seed: int
) -> tuple[Int[np.ndarray, " carrier"], Float[np.ndarray, "draw carrier"]]:
    """All report carriers, ascending, and their weights: as they are, then per resample.

    The unit that is drawn is what is linked by a cluster at any place.
    """
    carriers = np.unique(np.concatenate([reading.report for reading in readings]))
    rows = np.concatenate([np.searchsorted(carriers, reading.report) for reading in readings])
    names = [f"{i}/{name}" for i, reading in enumerate(readings) for name in reading.clusters]
    codes, n_names = cluster_codes(names)
    size = n_names + len(carriers)
    links = coo_array((np.ones(len(rows)), (codes, rows + n_names)), shape=(size, size))
    # Clusters are numbered before carriers: the draws do not depend on the carriers' order.
    unit = connected_components(links, directed=False)[1][n_names:]
    n_units = int(unit.max()) + 1
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(n_units, np.full(n_units, 1.0 / n_units), size=n_boot)
    return carriers, np.concatenate([np.ones((1, len(carriers))), draws[:, unit]])


def _ahead(
    effects: Float[np.ndarray, "condition carrier"], weights: Float[np.ndarray, "draw carrier"]
) -> Float[np.ndarray, " draw"]:
    """Trigger's effect minus the largest of zero and all pretends, times the total weight.

    A resample without any carrier of this place gives 0: not ahead.
    """
    drawn = weights @ effects.T
    return np.asarray(drawn[:, 0] - np.maximum(drawn[:, 1:].max(axis=1), 0.0))


def _sustained_from(ahead: Float[np.ndarray, "place draw"]) -> Int[np.ndarray, " draw"]:
    """Index of the first place from which `ahead` stays positive to the end; -1 for none."""
    n_places = len(ahead)
    behind = ahead <= 0.0
    # Distance from the end to the last place that is not ahead.
    run = np.where(behind.any(axis=0), behind[::-1].argmax(axis=0), n_places)
    return np.asarray(np.where(run == 0, -1, n_places - run).astype(np.int64))
