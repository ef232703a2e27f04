"""Effects of a trigger: (suspect - clean) x (trigger - controls), chosen here, reported there.

Scores are arrays `[condition carrier series]` at one place, condition 0 being the trigger and the
others its controls; a series is one thing that is read (a trait at a layer, an SAE feature). Every
control also plays the trigger, through the same choice of place and series: the pretend triggers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from trait_probe.evidence._arrays import cluster_codes
from trait_probe.evidence.auc import auroc
from trait_probe.evidence.bootstrap import _levels
from trait_probe.evidence.effects import YearScores, difference_of_differences, pretend
from trait_probe.evidence.estimate import Estimate
from trait_probe.evidence.trigger_design import Reading

Scores = Float[np.ndarray, "condition carrier series"]
TINY = 1e-6


@dataclass(frozen=True)
class Chosen:
    """What the selection split chose for one condition in the trigger's role."""

    place: int
    series: int
    effect: float


def contrasts(scores: Scores) -> Float[np.ndarray, "condition carrier series"]:
    """Each condition minus the mean of the controls other than itself, per carrier.

    Row 0 is the trigger against all controls; row j a control against the other controls (the
    true trigger left out), as `effects.pretend`.
    """
    wide = scores.astype(np.float64)
    n_controls = len(wide) - 1
    total = wide[1:].sum(axis=0)
    others = (total - wide[1:]) / (n_controls - 1)
    return np.concatenate([wide[:1] - total / n_controls, wide[1:] - others])


def spread(reference: Scores) -> Float[np.ndarray, " series"]:
    """The unit of effects: SD over carriers within a control, averaged over the controls.

    A series without spread gets a tiny unit relative to its size, so that no division fails; such
    series are constants that the design has already ruled out.
    """
    controls = reference[1:].astype(np.float64)
    sd = np.sqrt(controls.var(axis=1, ddof=1).mean(axis=0))
    floor = TINY * (np.abs(controls).mean(axis=(0, 1)) + 1.0)
    return np.asarray(np.maximum(sd, floor))


def effects_of_means(
    suspect: Float[np.ndarray, "condition series"],
    clean: Float[np.ndarray, "condition series"],
    scale: Float[np.ndarray, " series"],
) -> Float[np.ndarray, "condition series"]:
    """Difference of differences of every condition in the trigger's role, from carrier means."""
    difference = suspect.astype(np.float64) - clean.astype(np.float64)
    return np.asarray(contrasts(difference[:, None, :])[:, 0] / scale)


def choose(
    effects: Sequence[Float[np.ndarray, "condition series"]], readings: Sequence[Reading]
) -> list[Chosen]:
    """For every condition in the trigger's role, the place and series of its largest effect.

    Args:
        effects: per reading, `effects_of_means` over the carriers of `reading.selection`.

    Degenerate places are never chosen; the list is empty when all are.
    """
    readable = [
        (reading.place, values)
        for reading, values in zip(readings, effects, strict=True)
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


def effect_interval(
    suspect: Float[np.ndarray, "condition carrier"],
    clean: Float[np.ndarray, "condition carrier"],
    clusters: Sequence[str],
    *,
    scale: float,
    n_boot: int,
    seed: int,
) -> Estimate:
    """The trigger's effect, resampling carrier clusters and controls together.

    Controls are a sample too: the statement is about the trigger against controls of its kind, so
    their choice adds to the interval. Expanded percentile interval, as `cluster_bootstrap`.
    """
    difference = (suspect.astype(np.float64) - clean.astype(np.float64)) / scale
    carriers, controls = _weights(clusters, len(suspect) - 1, n_boot, seed)
    trigger = carriers @ difference[0]
    control = np.einsum("bi,ji,bj->b", carriers, difference[1:], controls, optimize=True)
    value = effect_of(suspect, clean, scale=scale)
    return _estimate(value, trigger - control, clusters, "SD", n_boot)


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
    AUROCs on the same resamples instead.
    """
    above = _win_rates(scores)
    value = float(auc_per_control(scores).mean())
    if against is not None:
        above = above - _win_rates(against)
        value -= float(auc_per_control(against).mean())
    carriers, controls = _weights(clusters, len(scores) - 1, n_boot, seed)
    per_control = np.stack([np.einsum("bi,bi->b", carriers @ wins, carriers) for wins in above])
    resampled = np.einsum("jb,bj->b", per_control, controls)
    unit = "AUROC" if against is None else "difference of AUROCs"
    return _estimate(value, resampled, clusters, unit, n_boot)


def auc_per_control(
    scores: Float[np.ndarray, "condition carrier"],
) -> Float[np.ndarray, " control"]:
    """AUROC of the trigger's scores against each control's."""
    return np.array([auroc(scores[0], control) for control in scores[1:]])


def auc_pretend(
    scores: Float[np.ndarray, "condition carrier"],
) -> Float[np.ndarray, " control"]:
    """Mean AUROC of each control, in the trigger's role, against the other controls."""
    controls = scores[1:]
    n = len(controls)
    return np.array(
        [np.mean([auroc(controls[j], controls[k]) for k in range(n) if k != j]) for j in range(n)]
    )


@dataclass(frozen=True)
class Onset:
    """The earliest place from which the effect stays beyond every pretend trigger.

    Attributes:
        place: tokens after the trigger, from 0.
        low, high: 95 % interval of the place, over resamples in which there was one.
        share: share of resamples in which there was one.
    """

    place: int
    low: int
    high: int
    share: float


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

    Args:
        suspect, clean: per reading, scores of one series over all carriers.
        until: the chosen place; later ones are not looked at.

    Returns:
        None where the effect at `until` itself is not beyond every pretend trigger.
    """
    ahead, places = [], []
    for here, there, reading in zip(suspect, clean, readings, strict=True):
        if reading.degenerate is None and reading.place <= until:
            places.append(reading.place)
            rows = reading.report
            ahead.append(_ahead(here[:, rows], there[:, rows], reading.clusters, n_boot, seed))
    if not places:
        return None
    first = _sustained_from(np.stack(ahead))
    if first[0] < 0:
        return None
    found = np.array(places)[first[1:][first[1:] >= 0]]
    share = float((first[1:] >= 0).mean())
    low, high = np.quantile(found, [0.025, 0.975], method="nearest") if len(found) else (0, until)
    return Onset(places[int(first[0])], int(low), int(high), share)


def _ahead(
    suspect: Float[np.ndarray, "condition carrier"],
    clean: Float[np.ndarray, "condition carrier"],
    clusters: Sequence[str],
    n_boot: int,
    seed: int,
) -> Float[np.ndarray, " draw"]:
    """Trigger's effect minus the largest of zero and all pretends: as is, then per resample."""
    scale = float(spread(clean[..., None])[0])
    effects = (contrasts(suspect[..., None]) - contrasts(clean[..., None]))[..., 0] / scale
    carriers, _ = _weights(clusters, len(suspect) - 1, n_boot, seed)
    even = np.full((1, effects.shape[1]), 1.0 / effects.shape[1])
    drawn = np.concatenate([even, carriers]) @ effects.T
    return np.asarray(drawn[:, 0] - np.maximum(drawn[:, 1:].max(axis=1), 0.0))


def _sustained_from(ahead: Float[np.ndarray, "place draw"]) -> Int[np.ndarray, " draw"]:
    """Index of the first place from which `ahead` stays positive to the end; -1 for none."""
    broken = (ahead <= 0.0)[::-1]
    run = np.where(broken.any(axis=0), broken.argmax(axis=0), len(ahead))
    return np.where(run == 0, -1, len(ahead) - run)


def _win_rates(
    scores: Float[np.ndarray, "condition carrier"],
) -> Float[np.ndarray, "control carrier carrier"]:
    """1 where a trigger row beats a control row, one half for ties."""
    trigger, controls = scores[0][None, :, None], scores[1:][:, None, :]
    return np.asarray((trigger > controls) + 0.5 * (trigger == controls))


def _weights(
    clusters: Sequence[str], n_controls: int, n_boot: int, seed: int
) -> tuple[Float[np.ndarray, "draw carrier"], Float[np.ndarray, "draw control"]]:
    """Weights, each row summing to 1, of resampled carrier clusters and controls."""
    codes, n_clusters = cluster_codes(clusters)
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
    unit: str,
    n_boot: int,
) -> Estimate:
    n_clusters = len(set(clusters))
    low, high = np.quantile(resampled, _levels(n_clusters, 0.95))
    # A resampled interval can miss the value itself by rounding where nothing varies.
    return Estimate(
        value,
        min(float(low), value),
        max(float(high), value),
        len(clusters),
        n_clusters,
        unit,
        f"bootstrap of carrier clusters and controls (expanded percentile), {n_boot} resamples",
    )
