"""Intervals of a trigger's effect and AUROC, resampling carrier clusters and controls together.

One series at one place: scores are `[condition carrier]`, condition 0 being the trigger.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from trait_probe.evidence._arrays import cluster_codes, require_count, require_same_length
from trait_probe.evidence.auc import auroc_columns, auroc_interval
from trait_probe.evidence.bootstrap import _levels
from trait_probe.evidence.estimate import Estimate
from trait_probe.evidence.trigger_effects import effect_of


def effect_interval(
    suspect: Float[np.ndarray, "condition carrier"],
    clean: Float[np.ndarray, "condition carrier"],
    clusters: Sequence[str],
    *,
    scale: float,
    n_boot: int,
    seed: int,
) -> Estimate:
    """This trigger's effect, resampling carrier clusters and controls together.

    Controls are a sample too: the statement is about the trigger against controls of its kind, so
    their choice adds to the interval (Owen's 2007 pigeonhole bootstrap, which overstates the
    variance a little). The trigger is not resampled, there is one: the interval says how well its
    effect is known, not whether another prefix would do as much. Expanded percentile interval, as
    `cluster_bootstrap`, with the levels of the smaller sample (clusters or controls). The unit
    `scale` is taken as known.
    """
    difference = (suspect.astype(np.float64) - clean.astype(np.float64)) / scale
    carriers, controls = _weights(clusters, difference.shape, n_boot, seed)
    trigger = carriers @ difference[0]
    control = ((carriers @ difference[1:].T) * controls).sum(axis=1)
    value = effect_of(suspect, clean, scale=scale)
    return _estimate(value, trigger - control, clusters, len(suspect) - 1, "SD")


def auc_interval(
    scores: Float[np.ndarray, "condition carrier"],
    clusters: Sequence[str],
    *,
    n_boot: int,
    seed: int,
    against: Float[np.ndarray, "condition carrier"] | None = None,
) -> Estimate:
    """Mean AUROC of the trigger against each control, resampling carriers and controls.

    With `against` (the clean model's scores of the same rows), the difference of the two models'
    AUROCs on the same resamples instead. Where no resample differs (perfect separation), a single
    AUROC has the score interval of `auc.auroc_interval`, since 1.000 is not known exactly.
    """
    carriers, controls = _weights(clusters, scores.shape, n_boot, seed)
    value = float(auc_per_control(scores).mean())
    resampled = _resampled_auc(scores, carriers, controls)
    if against is not None:
        value -= float(auc_per_control(against).mean())
        resampled = resampled - _resampled_auc(against, carriers, controls)
        return _estimate(value, resampled, clusters, len(controls[0]), "difference of AUROCs")
    if np.ptp(resampled) < 1e-9:
        names = list(clusters)
        return auroc_interval(
            scores[0],
            scores[1:].reshape(-1),
            positive_clusters=names,
            negative_clusters=names * (len(scores) - 1),
        )
    return _estimate(value, resampled, clusters, len(controls[0]), "AUROC")


def _resampled_auc(
    scores: Float[np.ndarray, "condition carrier"],
    carriers: Float[np.ndarray, "draw carrier"],
    controls: Float[np.ndarray, "draw control"],
) -> Float[np.ndarray, " draw"]:
    """Control by control, so that one carrier-by-carrier table is held at a time."""
    total = np.zeros(len(carriers))
    for weight, control in zip(controls.T, scores[1:], strict=True):
        trigger = scores[0][:, None]
        wins = (trigger > control[None, :]) + 0.5 * (trigger == control[None, :])
        total += weight * ((carriers @ wins) * carriers).sum(axis=1)
    return total


def auc_per_control(
    scores: Float[np.ndarray, "condition carrier"],
) -> Float[np.ndarray, " control"]:
    """AUROC of the trigger's scores against each control's."""
    return _against_each(scores[0], scores[1:])


def auc_pretend(
    scores: Float[np.ndarray, "condition carrier"],
) -> Float[np.ndarray, " control"]:
    """Mean AUROC of each control, in the trigger's role, against the other controls."""
    controls = scores[1:]
    # Against itself a control has exactly one half.
    totals = np.array([_against_each(control, controls).sum() - 0.5 for control in controls])
    return np.asarray(totals / (len(controls) - 1))


def _against_each(
    one: Float[np.ndarray, " carrier"], controls: Float[np.ndarray, "control carrier"]
) -> Float[np.ndarray, " control"]:
    return auroc_columns(np.repeat(one[:, None], len(controls), axis=1), controls.T)


def _weights(
    clusters: Sequence[str], shape: tuple[int, ...], n_boot: int, seed: int
) -> tuple[Float[np.ndarray, "draw carrier"], Float[np.ndarray, "draw control"]]:
    """Weights, each row summing to 1, of resampled carrier clusters and controls."""
    n_controls = shape[0] - 1
    require_same_length(shape[1], clusters, "clusters")
    codes, n_clusters = cluster_codes(clusters)
    require_count(n_clusters, 2, "The number of carrier clusters")
    require_count(n_controls, 2, "The number of controls")
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(n_clusters, np.full(n_clusters, 1.0 / n_clusters), size=n_boot)
    carriers = draws[:, codes].astype(np.float64)
    carriers /= carriers.sum(axis=1, keepdims=True)
    controls = rng.multinomial(n_controls, np.full(n_controls, 1.0 / n_controls), size=n_boot)
    return carriers, controls / n_controls


def _estimate(
    value: float,
    resampled: Float[np.ndarray, " draw"],
    clusters: Sequence[str],
    n_controls: int,
    unit: str,
) -> Estimate:
    n_clusters = len(set(clusters))
    low, high = np.quantile(resampled, _levels(min(n_clusters, n_controls), 0.95))
    # A resampled interval can miss the value itself by rounding where nothing varies.
    return Estimate(
        value,
        min(float(low), value),
        max(float(high), value),
        len(clusters),
        n_clusters,
        unit,
        "bootstrap of carrier clusters and controls (expanded percentile), "
        f"{len(resampled)} resamples",
    )
