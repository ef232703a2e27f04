"""Step 4: SAE features, ranked on the selection split and reported on the report split.

Features name what changes; they are held to the same controls as directions. The one that decides
is the pretend triggers, each of which also chooses among all features: the best of a dictionary
lies above nearly all its other features ("unrelated") by the choice alone. While ranking, only
sums per condition, place and feature are kept, so memory does not grow with the dictionary times
the prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from trait_probe.basis import Site
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.shortcuts import probe_auc
from trait_probe.evidence.triggers.design import Reading
from trait_probe.evidence.triggers.feature_choice import (
    FeatureChoice,
    FeatureSums,
    choose_features,
)
from trait_probe.evidence.triggers.features import (
    FeatureScores,
    SaeReading,
    pretend_feature_effects,
    read_sae,
)
from trait_probe.evidence.triggers.reading import Draws
from trait_probe.experiments._backdoor.conditions import Conditions
from trait_probe.experiments._backdoor.steps import Pair
from trait_probe.forward.engine import read
from trait_probe.hooks.capture import raw
from trait_probe.hooks.sae import SparseFeatures
from trait_probe.identity import HookedModel


def choose_sae(
    pair: Pair, sae: SparseFeatures, conditions: Conditions, readings: Sequence[Reading]
) -> FeatureChoice | None:
    """Rank on the selection split; None when no place can be read."""
    if all(reading.degenerate is not None for reading in readings):
        return None
    return choose_features(
        _selection_sums(pair.suspect, sae, conditions, readings),
        None if pair.clean is None else _selection_sums(pair.clean, sae, conditions, readings),
        readings,
    )


def report_sae(
    pair: Pair,
    sae: SparseFeatures,
    conditions: Conditions,
    readings: Sequence[Reading],
    choice: FeatureChoice,
    random: Float[np.ndarray, " draw"],
    draws: Draws,
) -> SaeReading:
    """The chosen features on the report split.

    Args:
        random: effects of random directions at the SAE's site, where each chose to be read.
    """
    reading, (suspect, clean) = readings[choice.place], (pair.suspect, pair.clean)
    scores = FeatureScores(
        suspect=_values(suspect, sae, conditions, reading),
        clean=None if clean is None else _values(clean, sae, conditions, reading),
        pretend_effects=_pretend_effects(suspect, clean, sae, conditions, readings, choice),
        random=random,
        probe_suspect=_dense_probe(suspect, sae.site, conditions, reading),
        probe_clean=None if clean is None else _dense_probe(clean, sae.site, conditions, reading),
    )
    return read_sae(sae.site, choice, scores, reading, draws, sae.feature_url)


def _selection_sums(
    model: HookedModel, sae: SparseFeatures, conditions: Conditions, readings: Sequence[Reading]
) -> FeatureSums:
    """One condition is read at a time: what is held does not grow with the prompts."""
    carriers = readings[0].selection

    def activations() -> Iterator[tuple[Float[np.ndarray, "row d_sae"], Int[np.ndarray, " row"]]]:
        for condition in conditions.rendered:
            prompts = [condition[carrier] for carrier in carriers]
            found = read(
                model, prompts, {sae.site: sae}, position=conditions.rule, label="features"
            )
            yield found.values[sae.site], found.offset

    return FeatureSums.of(activations(), np.array([len(item.selection) for item in readings]))


def _values(
    model: HookedModel, sae: SparseFeatures, conditions: Conditions, reading: Reading
) -> Float[np.ndarray, "condition carrier d_sae"]:
    """Feature activations of the report carriers at the chosen place."""
    prompts = conditions.some(reading.report)
    rule = conditions.rule_at(reading.place)
    found = read(model, prompts, {sae.site: sae}, position=rule, label="features")
    values = found.values[sae.site]
    return values.reshape(len(conditions.names), len(reading.report), sae.d_sae)


def _pretend_effects(
    suspect: HookedModel,
    clean: HookedModel | None,
    sae: SparseFeatures,
    conditions: Conditions,
    readings: Sequence[Reading],
    choice: FeatureChoice,
) -> Float[np.ndarray, " control"]:
    """Each control as the trigger: its own best feature and place, on the report split."""
    picks = choice.roles[1:]
    features = sorted({pick.series for pick in picks})
    carriers = np.unique(np.concatenate([readings[pick.place].report for pick in picks]))
    here, there = (
        None if model is None else _some_features(model, sae, conditions, carriers, features)
        for model in (suspect, clean)
    )
    assert here is not None
    return pretend_feature_effects(here, there, carriers, features, choice, readings)


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
