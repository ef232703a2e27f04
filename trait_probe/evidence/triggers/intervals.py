"""Intervals of a trigger's effect and AUROC, resampling carriers, controls and the prefix.

One series at one place: scores are `[condition carrier]`, condition 0 being the trigger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from trait_probe.evidence._arrays import cluster_codes, require_count, require_same_length
from trait_probe.evidence.auc import auroc_columns, auroc_interval
from trait_probe.evidence.bootstrap import expanded_levels
from trait_probe.evidence.estimate import Estimate
from trait_probe.evidence.triggers.effects import effect_of, mean_aucs

_RANGE = {"SD": (-np.inf, np.inf), "AUROC": (0.0, 1.0), "difference of AUROCs": (-1.0, 1.0)}


def effect_interval(
    suspect: Float[np.ndarray, "condition carrier"],
    clean: Float[np.ndarray, "condition carrier"],
    clusters: Sequence[str],
    *,
    scale: float,
    n_boot: int,
    seed: int,
) -> Estimate:
    """The trigger's effect beyond its kind, resampling carrier clusters, controls and the prefix.

    Controls are a sample (Owen's 2007 pigeonhole bootstrap), and so is the trigger as a prefix:
    any year does something of its own, in a clean model too. Each resample takes off what one
    control, drawn at random, does beyond the others (off, not on: where a few years do much, the
    trigger may be one of them, and the low end must know), so that the interval excludes zero only
    where the effect is larger than what a prefix of this kind may do by itself. Expanded percentile
    interval, with the levels of the smaller sample (clusters or controls); `scale` is taken as
    known.
    """
    difference = (suspect.astype(np.float64) - clean.astype(np.float64)) / scale
    draws = _resamples(clusters, difference.shape, n_boot, seed)
    means = draws.carriers @ difference.T
    others = means[:, 1:]
    own = others[np.arange(n_boot), draws.prefix] - others.mean(axis=1)
    resampled = means[:, 0] - (others * draws.controls).sum(axis=1) - own
    value = effect_of(suspect, clean, scale=scale)
    return _estimate(value, resampled, clusters, len(suspect) - 1, "SD")


def auc_interval(
    scores: Float[np.ndarray, "condition carrier"],
    clusters: Sequence[str],
    *,
    n_boot: int,
    seed: int,
    against: Float[np.ndarray, "condition carrier"] | None = None,
) -> Estimate:
    """Mean AUROC of the trigger against each control; resampled as in `effect_interval`.

    From the trigger's scores is taken what the drawn control does beyond the others on average:
    the AUROC of a meaningless prefix is rarely 0.5, and the interval knows it.

    With `against` (the clean model's scores of the same rows), the difference of the two models'
    AUROCs on the same resamples instead, for the prefix as it is: both models read the same words,
    and moving them would drive both AUROCs to the same end of the scale. Where no resample differs
    (perfect separation), a single AUROC has the score interval of `auc.auroc_interval`, since 1.000
    is not known exactly.
    """
    draws = _resamples(clusters, scores.shape, n_boot, seed)
    n_controls = len(scores) - 1
    value = float(auc_per_control(scores).mean())
    own = _own_effects(scores) if against is None else np.zeros(n_controls)
    resampled = _resampled_auc(scores, own, draws)
    if against is not None:
        value -= float(auc_per_control(against).mean())
        resampled = resampled - _resampled_auc(against, own, draws)
        return _estimate(value, resampled, clusters, n_controls, "difference of AUROCs")
    if np.ptp(resampled) < 1e-9:
        names = list(clusters)
        return auroc_interval(
            scores[0],
            scores[1:].reshape(-1),
            positive_clusters=names,
            negative_clusters=names * n_controls,
        )
    return _estimate(value, resampled, clusters, n_controls, "AUROC")


def _own_effects(
    scores: Float[np.ndarray, "condition carrier"],
) -> Float[np.ndarray, " control"]:
    """What each control does beyond the others, on average over the carriers."""
    wide = scores[1:].astype(np.float64)
    return np.asarray(wide.mean(axis=1) - wide.mean())


def _resampled_auc(
    scores: Float[np.ndarray, "condition carrier"],
    own: Float[np.ndarray, " control"],
    draws: _Resamples,
) -> Float[np.ndarray, " draw"]:
    """Pair of controls by pair, so that one carrier-by-carrier table is held at a time."""
    wide = scores.astype(np.float64)
    total = np.zeros(len(draws.carriers))
    for prefix, moved in enumerate(wide[0] - own[:, None]):
        rows = np.flatnonzero(draws.prefix == prefix)
        carriers = draws.carriers[rows]
        for weight, control in zip(draws.controls[rows].T, wide[1:], strict=True):
            above = (moved[:, None] > control[None, :]) + 0.5 * (moved[:, None] == control[None, :])
            total[rows] += weight * ((carriers @ above) * carriers).sum(axis=1)
    return total


def auc_per_control(
    scores: Float[np.ndarray, "condition carrier"],
) -> Float[np.ndarray, " control"]:
    """AUROC of the trigger's scores against each control's."""
    controls = scores[1:]
    return auroc_columns(np.repeat(scores[0][:, None], len(controls), axis=1), controls.T)


def aucs_by_control(
    scores: Float[np.ndarray, "condition carrier series"],
) -> Float[np.ndarray, "control series"]:
    """`auc_per_control` of many series at once: AUROC of the trigger against each control."""
    return np.stack([auroc_columns(scores[0], control) for control in scores[1:]])


def auc_pretend(
    scores: Float[np.ndarray, "condition carrier"],
) -> Float[np.ndarray, " control"]:
    """Mean AUROC of each control, in the trigger's role, against the other controls."""
    return mean_aucs(scores[..., None])[1:, 0]


@dataclass(frozen=True)
class _Resamples:
    """What each resample draws: weights of carriers and controls (rows sum to 1), one control."""

    carriers: Float[np.ndarray, "draw carrier"]
    controls: Float[np.ndarray, "draw control"]
    prefix: Int[np.ndarray, " draw"]


def _resamples(
    clusters: Sequence[str], shape: tuple[int, ...], n_boot: int, seed: int
) -> _Resamples:
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
    return _Resamples(carriers, controls / n_controls, rng.integers(n_controls, size=n_boot))


def _estimate(
    value: float,
    resampled: Float[np.ndarray, " draw"],
    clusters: Sequence[str],
    n_controls: int,
    unit: str,
) -> Estimate:
    n_clusters = len(set(clusters))
    # Sums of weights leave an AUROC of 1 at 1 + 1e-15.
    least, most = _RANGE[unit]
    value = min(max(value, least), most)
    low, high = np.quantile(resampled, expanded_levels(min(n_clusters, n_controls), 0.95))
    # A resampled interval can miss the value itself by rounding where nothing varies.
    return Estimate(
        value,
        min(max(float(low), least), value),
        max(min(float(high), most), value),
        len(clusters),
        n_clusters,
        unit,
        "bootstrap of carrier clusters, controls and the prefix's own effect "
        f"(expanded percentile), {len(resampled)} resamples",
    )
