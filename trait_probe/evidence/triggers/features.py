"""A trigger's effect on the features of a dictionary (an SAE), reported where they were chosen.

The null that decides is the pretend triggers, each of which also chooses among all features: the
best of a dictionary lies above nearly all its other features ("unrelated") by the choice alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from trait_probe.basis import Site
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.nulls import (
    PermutationResult,
    PretendNull,
    label_permutation,
    n_distinct,
    percentile,
    pretend_null,
)
from trait_probe.evidence.triggers.design import Reading
from trait_probe.evidence.triggers.effects import (
    cluster_sd,
    contrasts,
    effect_of,
    pooled_spread,
)
from trait_probe.evidence.triggers.feature_choice import FeatureChoice
from trait_probe.evidence.triggers.intervals import auc_interval, auc_pretend, effect_interval
from trait_probe.evidence.triggers.reading import Draws, NullEffects

Features = Float[np.ndarray, "condition carrier d_sae"]


@dataclass(frozen=True)
class FeatureReading:
    """One feature at the chosen place, on the report split; `cluster_sd` as in `TraitReading`."""

    feature: int
    url: str | None
    selection_effect: float
    effect: Estimate
    cluster_sd: float
    auc_suspect: Estimate
    auc_clean: Estimate | None
    pretend_auc: tuple[float, ...]
    percentiles: Mapping[str, float]


@dataclass(frozen=True)
class SaeReading:
    """The SAE's answer: its first feature is the one the claim is about."""

    site: Site
    place: int
    d_sae: int
    features: tuple[FeatureReading, ...]
    auc_advantage: Estimate | None
    pretend_effects: tuple[float, ...]
    pretend: PretendNull
    permutation: PermutationResult
    null_draws: Mapping[str, int]
    null_distinct: Mapping[str, int]
    probe_suspect: Estimate | Unscored
    probe_clean: Estimate | Unscored | None


@dataclass(frozen=True)
class FeatureScores:
    """What was read on the report split, where the trigger chose.

    Attributes:
        suspect, clean: all features at the chosen place.
        pretend_effects: see `pretend_feature_effects`.
        random: effects of random directions at the SAE's site, where each chose to be read.
        probe_suspect, probe_clean: a supervised trigger probe on the same activations.
    """

    suspect: Features
    clean: Features | None
    pretend_effects: Float[np.ndarray, " control"]
    random: Float[np.ndarray, " draw"]
    probe_suspect: Estimate | Unscored
    probe_clean: Estimate | Unscored | None


def read_sae(
    site: Site,
    choice: FeatureChoice,
    scores: FeatureScores,
    reading: Reading,
    draws: Draws,
    url: Callable[[int], str | None],
) -> SaeReading:
    """Report the features that were chosen, at the chosen place.

    Args:
        reading: of that place.
        url: a page about a feature.
    """
    here, there = scores.suspect, scores.clean
    at_place = _effects(here, there)
    features = tuple(
        _feature(
            feature,
            url(feature),
            choice,
            here,
            there,
            {"random": scores.random, "unrelated": np.delete(at_place, feature)},
            reading,
            draws,
        )
        for feature in choice.shown
    )
    top = features[0]
    return SaeReading(
        site=site,
        place=choice.place,
        d_sae=here.shape[2],
        features=features,
        auc_advantage=_advantage(top.feature, here, there, reading, draws),
        pretend_effects=tuple(scores.pretend_effects.tolist()),
        pretend=pretend_null(top.effect.value, scores.pretend_effects),
        permutation=_permutation(top.feature, here, there, reading, draws),
        null_draws={"random": len(scores.random), "unrelated": len(at_place) - 1},
        null_distinct={
            "random": n_distinct(scores.random),
            "unrelated": n_distinct(np.delete(at_place, top.feature)),
        },
        probe_suspect=scores.probe_suspect,
        probe_clean=scores.probe_clean,
    )


def _feature(
    feature: int,
    url: str | None,
    choice: FeatureChoice,
    here: Features,
    there: Features | None,
    nulls: NullEffects,
    reading: Reading,
    draws: Draws,
) -> FeatureReading:
    mine = here[..., feature]
    baseline = np.zeros_like(mine) if there is None else there[..., feature]
    scale, boot = _scale(mine, baseline), draws.boot
    effect = effect_interval(mine, baseline, reading.clusters, scale=scale, **boot)
    return FeatureReading(
        feature=feature,
        url=url,
        selection_effect=float(choice.effects[feature]),
        effect=effect,
        cluster_sd=cluster_sd(mine, baseline, reading.clusters, scale=scale),
        auc_suspect=auc_interval(mine, reading.clusters, **boot),
        auc_clean=None if there is None else auc_interval(baseline, reading.clusters, **boot),
        pretend_auc=tuple(auc_pretend(mine).tolist()),
        percentiles={name: percentile(effect.value, null) for name, null in nulls.items()},
    )


def _advantage(
    feature: int, here: Features, there: Features | None, reading: Reading, draws: Draws
) -> Estimate | None:
    if there is None:
        return None
    mine, other = here[..., feature], there[..., feature]
    return auc_interval(mine, reading.clusters, against=other, **draws.boot)


def _permutation(
    feature: int, here: Features, there: Features | None, reading: Reading, draws: Draws
) -> PermutationResult:
    change = here[..., feature] if there is None else here[..., feature] - there[..., feature]
    scores = change.T.astype(np.float64)
    return label_permutation(scores, 0, reading.clusters, draws.n_permutations, draws.seed)


def _scale(
    here: Float[np.ndarray, "condition carrier"], there: Float[np.ndarray, "condition carrier"]
) -> float:
    return float(pooled_spread(here[..., None], there[..., None])[0])


def _effects(here: Features, there: Features | None) -> Float[np.ndarray, " d_sae"]:
    """The trigger's effect on every feature, at the chosen place."""
    baseline = np.zeros_like(here) if there is None else there
    means = here.mean(axis=1, dtype=np.float64) - baseline.mean(axis=1, dtype=np.float64)
    return np.asarray(contrasts(means[:, None, :])[0, 0] / pooled_spread(here, baseline))


def pretend_feature_effects(
    suspect: Float[np.ndarray, "condition carrier place feature"],
    clean: Float[np.ndarray, "condition carrier place feature"] | None,
    carriers: Int[np.ndarray, " carrier"],
    features: Sequence[int],
    choice: FeatureChoice,
    readings: Sequence[Reading],
) -> Float[np.ndarray, " control"]:
    """Each control as the trigger: its own feature and place, on the report split, in SD.

    Args:
        carriers: number of each carrier of the scores, ascending; all that these places report.
        features: number of each feature of the scores; all that the controls chose.
    """
    there = np.zeros_like(suspect) if clean is None else clean
    effects = []
    for condition, pick in enumerate(choice.roles[1:], start=1):
        rows = np.searchsorted(carriers, readings[pick.place].report)
        column = features.index(pick.series)
        mine, other = (grid[:, rows, pick.place, column] for grid in (suspect, there))
        effects.append(effect_of(mine, other, scale=_scale(mine, other), condition=condition))
    return np.array(effects)
