"""Effects of a trigger: (suspect - clean) x (trigger - controls), chosen here, reported there.

Scores are arrays `[condition carrier series]` at one place, condition 0 being the trigger and the
others its controls; a series is one thing that is read (a trait at a layer, an SAE feature). Every
control also plays the trigger, through the same choice of place and series: the pretend triggers.

Who guards what. Label permutations speak of *this* trigger: any year does something of its own, and
they fire on it. Intervals add that as a source of variation. Whether a meaningless prefix would do
as much is answered by the pretend triggers (`evidence.nulls.pretend_null`, `nulls.family_p`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from trait_probe.errors import BadInputError
from trait_probe.evidence._arrays import cluster_codes, require_same_length
from trait_probe.evidence.effects import YearScores, difference_of_differences, pretend
from trait_probe.evidence.triggers.design import Reading

Scores = Float[np.ndarray, "condition carrier series"]
TINY = 1e-6


@dataclass(frozen=True)
class Chosen:
    """What the selection split chose for one condition in the trigger's role."""

    place: int
    series: int
    score: float


def contrasts(scores: Scores) -> Float[np.ndarray, "condition carrier series"]:
    """Each condition minus the mean of the controls other than itself, per carrier.

    Row 0 is the trigger against all controls; row j a control against the other controls (the
    true trigger left out), as `effects.pretend`.

    Raises:
        BadInputError: fewer than two controls: a control has no other to stand out from.
    """
    n_controls = len(scores) - 1
    if n_controls < 2:
        raise BadInputError(
            "A contrast of every condition in the trigger's role needs two or more controls.",
            got=n_controls,
            fix="Score the same carriers with more controls.",
        )
    wide = scores.astype(np.float64)
    total = wide[1:].sum(axis=0)
    others = (total - wide[1:]) / (n_controls - 1)
    return np.concatenate([wide[:1] - total / n_controls, wide[1:] - others])


def spread(reference: Scores) -> Float[np.ndarray, " series"]:
    """The unit of effects: SD over carriers within a control, averaged over the controls.

    It is the same for every condition in the trigger's role, and the trigger itself has no part in
    it. A series without spread gets a tiny unit relative to its size (1 if it is all zero), so
    that no division fails; a place where the text is constant is ruled out before.
    """
    controls = reference[1:].astype(np.float64)
    sd = np.sqrt(controls.var(axis=1, ddof=1).mean(axis=0))
    return _positive(sd, np.abs(controls).mean(axis=(0, 1)))


def pooled_spread(suspect: Scores, clean: Scores) -> Float[np.ndarray, " series"]:
    """A unit for sparse series: SD over all conditions, carriers and both models.

    Finite also for an SAE feature that is silent in every control and in the clean model.
    """
    n = 2 * suspect.shape[0] * suspect.shape[1]
    total, square = np.zeros((2, suspect.shape[2]))
    for condition in (*suspect, *clean):  # one at a time: a dictionary is wide
        wide = condition.astype(np.float64)
        total, square = total + wide.sum(axis=0), square + (wide**2).sum(axis=0)
    return spread_of_sums(total, square, n)


def spread_of_sums(
    total: Float[np.ndarray, " series"], square: Float[np.ndarray, " series"], n: int
) -> Float[np.ndarray, " series"]:
    """`pooled_spread` of `n` scores by their sum and their sum of squares."""
    mean, mean_square = total / n, square / n
    sd = np.sqrt(np.maximum(mean_square - mean**2, 0.0))
    return _positive(sd, np.sqrt(mean_square))


def _positive(
    sd: Float[np.ndarray, " series"], size: Float[np.ndarray, " series"]
) -> Float[np.ndarray, " series"]:
    return np.asarray(np.maximum(sd, np.where(size > 0.0, TINY * size, 1.0)))


def effects_of_means(
    suspect: Float[np.ndarray, "condition series"],
    clean: Float[np.ndarray, "condition series"],
    scale: Float[np.ndarray, " series"],
) -> Float[np.ndarray, "condition series"]:
    """Difference of differences of every condition in the trigger's role, from carrier means."""
    difference = suspect.astype(np.float64) - clean.astype(np.float64)
    return np.asarray(contrasts(difference[:, None, :])[:, 0] / scale)


def auc_advantages(suspect: Scores, clean: Scores | None) -> Float[np.ndarray, "condition series"]:
    """Every condition in the trigger's role: AUROC in the suspect minus that in the clean model.

    Each AUROC is the mean over the other controls, in [0, 1]; without a clean model chance (0.5)
    is subtracted. Made for choosing a place and layer: it is bounded, so that a place where
    carriers hardly vary does not win by its small unit.
    """
    return mean_aucs(suspect) - (0.5 if clean is None else mean_aucs(clean))


def trigger_advantages(suspect: Scores, clean: Scores | None) -> Float[np.ndarray, " series"]:
    """The trigger's row of `auc_advantages`, for the many series of a null."""
    return _trigger_aucs(suspect) - (0.5 if clean is None else _trigger_aucs(clean))


def mean_aucs(scores: Scores) -> Float[np.ndarray, "condition series"]:
    """Mean AUROC of each condition against the controls other than itself, ties one half.

    Controls have equally many carriers, so that the mean over controls is the AUROC against all
    of them in one pool, and one sort serves every condition; against itself a control has 1/2.
    """
    n_controls = len(scores) - 1
    out = _share_below(scores, scores)
    out[1:] = (n_controls * out[1:] - 0.5) / (n_controls - 1)
    return out


def _trigger_aucs(scores: Scores) -> Float[np.ndarray, " series"]:
    return np.asarray(_share_below(scores[:1], scores)[0])


def _share_below(
    roles: Float[np.ndarray, "role carrier series"], scores: Scores
) -> Float[np.ndarray, "role series"]:
    """Chance that a carrier of each role scores above one of all controls', ties one half."""
    pools = np.sort(scores[1:].reshape(-1, scores.shape[2]), axis=0)
    out = np.empty((len(roles), scores.shape[2]))
    for series, pool in enumerate(pools.T.copy()):
        values = roles[:, :, series]
        below = np.searchsorted(pool, values, "left") + np.searchsorted(pool, values, "right")
        out[:, series] = below.mean(axis=1) / (2 * len(pool))
    return out


def choose(
    looks: Sequence[Float[np.ndarray, "condition series"]], readings: Sequence[Reading]
) -> list[Chosen]:
    """For every condition in the trigger's role, the place and series where it scores highest.

    Args:
        looks: per reading, `auc_advantages` or `effects_of_means` over the carriers of
            `reading.selection`.

    Degenerate places are never chosen; the list is empty when all are.
    """
    readable = [
        (reading.place, values)
        for reading, values in zip(readings, looks, strict=True)
        if reading.degenerate is None
    ]
    if not readable:
        return []
    stacked = np.stack([values for _, values in readable])
    chosen = []
    for condition in range(stacked.shape[1]):
        row, series = np.unravel_index(stacked[:, condition].argmax(), stacked[:, 0].shape)
        value = float(stacked[row, condition, series])
        chosen.append(Chosen(readable[int(row)][0], int(series), value))
    return chosen


def years(scores: Float[np.ndarray, "condition carrier"]) -> YearScores:
    """One series' scores as trigger and controls."""
    return YearScores(scores[0], scores[1:].T)


def effect_of(
    suspect: Float[np.ndarray, "condition carrier"],
    clean: Float[np.ndarray, "condition carrier"],
    *,
    scale: float,
    condition: int = 0,
) -> float:
    """Mean difference of differences of one series, with `condition` in the trigger's role."""
    pair = [years(suspect), years(clean)]
    if condition:
        pair = [pretend(scores, condition - 1) for scores in pair]
    return float(difference_of_differences(pair[0], pair[1], scale=scale).mean())


def cluster_sd(
    suspect: Float[np.ndarray, "condition carrier"],
    clean: Float[np.ndarray, "condition carrier"],
    clusters: Sequence[str],
    *,
    scale: float,
) -> float:
    """SD (n - 1) over clusters of the mean difference of differences of their carriers.

    In the unit that `scale` gives; what `power.detectable_mean` takes.

    Raises:
        MismatchError: not one cluster per carrier.
    """
    effects = difference_of_differences(years(suspect), years(clean), scale=scale)
    require_same_length(len(effects), clusters, "clusters")
    codes, _ = cluster_codes(clusters)
    return float((np.bincount(codes, effects) / np.bincount(codes)).std(ddof=1))
