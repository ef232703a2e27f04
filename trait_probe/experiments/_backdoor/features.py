"""Step 4: SAE features, ranked on the selection split and reported on the report split.

Features name what changes; they are held to the same controls as directions. The one that decides
is the pretend triggers, each of which also chooses among all features: the best of a dictionary
lies above nearly all its other features ("unrelated") by the choice alone. While ranking, only
sums per condition, place and feature are kept, so memory does not grow with the dictionary times
the prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from trait_probe.basis import Site
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.nulls import (
    PermutationResult,
    PretendNull,
    label_permutation,
    percentile,
    pretend_null,
)
from trait_probe.evidence.shortcuts import probe_auc
from trait_probe.evidence.trigger_design import Reading
from trait_probe.evidence.trigger_effects import (
    Chosen,
    choose,
    contrasts,
    effect_of,
    effects_of_means,
    pooled_spread,
    spread_of_sums,
)
from trait_probe.evidence.trigger_intervals import (
    auc_interval,
    auc_pretend,
    effect_interval,
)
from trait_probe.experiments._backdoor.conditions import Conditions
from trait_probe.experiments._backdoor.traits import Draws
from trait_probe.forward.engine import read
from trait_probe.hooks.capture import raw
from trait_probe.hooks.sae import SparseFeatures
from trait_probe.identity import HookedModel

SHOWN = 10


@dataclass(frozen=True)
class FeatureReading:
    """One feature at the chosen place, on the report split."""

    feature: int
    url: str | None
    selection_effect: float
    effect: Estimate
    auc_suspect: Estimate
    auc_clean: Estimate | None
    pretend_auc: tuple[float, ...]


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
    percentiles: dict[str, float]
    probe_suspect: Estimate | Unscored
    probe_clean: Estimate | Unscored | None


@dataclass(frozen=True)
class _Sums:
    """Streaming sums over carriers: `[condition place feature]`, and carriers per place."""

    total: Float[np.ndarray, "condition place d_sae"]
    square: Float[np.ndarray, "condition place d_sae"]
    count: Int[np.ndarray, " place"]

    @property
    def mean(self) -> Float[np.ndarray, "condition place d_sae"]:
        return np.asarray(self.total / np.maximum(self.count, 1)[None, :, None])


def read_features(
    suspect: HookedModel,
    clean: HookedModel | None,
    sae: SparseFeatures,
    conditions: Conditions,
    readings: Sequence[Reading],
    random: Float[np.ndarray, " draw"],
    draws: Draws,
) -> SaeReading | None:
    """Rank on the selection split, report the best; None when no place can be read.

    Args:
        random: effects of random directions at the SAE's site, where each chose to be read.
    """
    if all(reading.degenerate is not None for reading in readings):
        return None
    sums = [
        None if model is None else _selection_sums(model, sae, conditions, readings)
        for model in (suspect, clean)
    ]
    effects = _selection_effects(sums[0], sums[1], readings)
    chosen = choose(effects, readings)
    best = chosen[0]
    reading = readings[best.place]
    ranked = np.argsort(-effects[best.place][0], kind="stable")[:SHOWN]
    here = _values(suspect, sae, conditions, reading)
    there = None if clean is None else _values(clean, sae, conditions, reading)
    features = tuple(
        _feature(int(i), float(effects[best.place][0, i]), sae, here, there, reading, draws)
        for i in ranked
    )
    pretend_effects = _pretend_effects(suspect, clean, sae, conditions, readings, chosen)
    top = features[0]
    baseline = np.zeros_like(here) if there is None else there
    column = (here - baseline)[..., top.feature].T.astype(np.float64)
    all_effects = _all_effects(here, baseline)
    boot = draws.boot
    return SaeReading(
        site=sae.site,
        place=best.place,
        d_sae=sae.d_sae,
        features=features,
        auc_advantage=None
        if there is None
        else auc_interval(
            here[..., top.feature], reading.clusters, against=there[..., top.feature], **boot
        ),
        pretend_effects=tuple(pretend_effects.tolist()),
        pretend=pretend_null(top.effect.value, pretend_effects),
        permutation=label_permutation(
            column, 0, reading.clusters, draws.n_permutations, draws.seed
        ),
        percentiles={
            "random": percentile(top.effect.value, random),
            "unrelated": percentile(top.effect.value, np.delete(all_effects, top.feature)),
        },
        probe_suspect=_dense_probe(suspect, sae.site, conditions, reading),
        probe_clean=None if clean is None else _dense_probe(clean, sae.site, conditions, reading),
    )


def _selection_sums(
    model: HookedModel, sae: SparseFeatures, conditions: Conditions, readings: Sequence[Reading]
) -> _Sums:
    carriers = readings[0].selection
    shape = (len(conditions.names), len(readings), sae.d_sae)
    total, square = np.zeros(shape), np.zeros(shape)
    count = np.array([len(reading.selection) for reading in readings])
    for row, condition in enumerate(conditions.rendered):
        prompts = [condition[carrier] for carrier in carriers]
        found = read(model, prompts, {sae.site: sae}, position=conditions.rule, label="features")
        values = found.values[sae.site].astype(np.float64)
        np.add.at(total[row], found.offset, values)
        np.add.at(square[row], found.offset, values**2)
    return _Sums(total, square, count)


def _selection_effects(
    suspect: _Sums | None, clean: _Sums | None, readings: Sequence[Reading]
) -> list[Float[np.ndarray, "condition d_sae"]]:
    assert suspect is not None
    known = [sums for sums in (suspect, clean) if sums is not None]
    effects = []
    for place, _ in enumerate(readings):
        there = np.zeros_like(suspect.mean[:, place]) if clean is None else clean.mean[:, place]
        scale = spread_of_sums(
            sum(sums.total[:, place].sum(axis=0) for sums in known),
            sum(sums.square[:, place].sum(axis=0) for sums in known),
            sum(len(sums.total) * max(int(sums.count[place]), 1) for sums in known),
        )
        effects.append(effects_of_means(suspect.mean[:, place], there, scale))
    return effects


def _values(
    model: HookedModel, sae: SparseFeatures, conditions: Conditions, reading: Reading
) -> Float[np.ndarray, "condition carrier d_sae"]:
    """Feature activations of the report carriers at the chosen place."""
    prompts = conditions.some(reading.report)
    rule = conditions.rule_at(reading.place)
    found = read(model, prompts, {sae.site: sae}, position=rule, label="features")
    values = found.values[sae.site]
    return values.reshape(len(conditions.names), len(reading.report), sae.d_sae)


def _all_effects(
    here: Float[np.ndarray, "condition carrier d_sae"],
    there: Float[np.ndarray, "condition carrier d_sae"],
) -> Float[np.ndarray, " d_sae"]:
    means = here.mean(axis=1, dtype=np.float64) - there.mean(axis=1, dtype=np.float64)
    return np.asarray(contrasts(means[:, None, :])[0, 0] / pooled_spread(here, there))


def _feature(
    feature: int,
    selection_effect: float,
    sae: SparseFeatures,
    here: Float[np.ndarray, "condition carrier d_sae"],
    there: Float[np.ndarray, "condition carrier d_sae"] | None,
    reading: Reading,
    draws: Draws,
) -> FeatureReading:
    mine = here[..., feature]
    baseline = np.zeros_like(mine) if there is None else there[..., feature]
    scale = float(pooled_spread(mine[..., None], baseline[..., None])[0])
    boot = draws.boot
    return FeatureReading(
        feature=feature,
        url=sae.feature_url(feature),
        selection_effect=selection_effect,
        effect=effect_interval(mine, baseline, reading.clusters, scale=scale, **boot),
        auc_suspect=auc_interval(mine, reading.clusters, **boot),
        auc_clean=None if there is None else auc_interval(baseline, reading.clusters, **boot),
        pretend_auc=tuple(auc_pretend(mine).tolist()),
    )


def _pretend_effects(
    suspect: HookedModel,
    clean: HookedModel | None,
    sae: SparseFeatures,
    conditions: Conditions,
    readings: Sequence[Reading],
    chosen: Sequence[Chosen],
) -> Float[np.ndarray, " control"]:
    """Each control as the trigger: its own best feature and place, on the report split."""
    picks = chosen[1:]
    features = sorted({pick.series for pick in picks})
    carriers = np.unique(np.concatenate([readings[pick.place].report for pick in picks]))
    here = _some_features(suspect, sae, conditions, carriers, features)
    there = (
        np.zeros_like(here)
        if clean is None
        else _some_features(clean, sae, conditions, carriers, features)
    )
    effects = []
    for condition, pick in enumerate(picks, start=1):
        rows = np.searchsorted(carriers, readings[pick.place].report)
        column = features.index(pick.series)
        mine, other = (grid[:, rows, pick.place, column] for grid in (here, there))
        scale = float(pooled_spread(mine[..., None], other[..., None])[0])
        effects.append(effect_of(mine, other, scale=scale, condition=condition))
    return np.array(effects)


def _some_features(
    model: HookedModel,
    sae: SparseFeatures,
    conditions: Conditions,
    carriers: Int[np.ndarray, " carrier"],
    features: Sequence[int],
) -> Float[np.ndarray, "condition carrier place feature"]:
    """A few features at every place, in one pass; 0 where a carrier has no token."""

    def readout(rows: Float[Tensor, "row d_model"]) -> Float[Tensor, "row feature"]:
        return sae(rows)[:, list(features)]

    prompts = conditions.some(carriers)
    found = read(model, prompts, {sae.site: readout}, position=conditions.rule, label="features")
    rows = conditions.rows(found.prompt, found.offset, n_carriers=len(carriers))
    values = found.values[sae.site]
    return np.where(rows[..., None] >= 0, values[rows], np.float32(0.0))


def _dense_probe(
    model: HookedModel, site: Site, conditions: Conditions, reading: Reading
) -> Estimate | Unscored:
    """A supervised trigger probe at the same place: what it finds in the clean model is no news."""
    prompts = conditions.some(reading.report)
    rule = conditions.rule_at(reading.place)
    rows = read(model, prompts, {site: raw}, position=rule, label="dense probe").values[site]
    labels = np.repeat(np.arange(len(conditions.names)) == 0, len(reading.report))
    groups = list(reading.clusters) * len(conditions.names)
    return probe_auc(rows.astype(np.float64), labels, groups)
