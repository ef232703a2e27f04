"""Features and null directions of a trigger test, on planted arrays: no model needed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from trigger_builders import DRAWS, TINY_EFFECTS, scores, study

from trait_probe.basis import Site
from trait_probe.errors import BadInputError
from trait_probe.evidence.estimate import Unscored
from trait_probe.evidence.triggers.directions import (
    DirectionScores,
    Looks,
    direction_effects,
    effects_after_choice,
)
from trait_probe.evidence.triggers.effects import effect_of, spread, trigger_advantages
from trait_probe.evidence.triggers.feature_choice import (
    SHOWN,
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
from trait_probe.evidence.triggers.intervals import auc_per_control, aucs_by_control

PLANTED = 7
PLAN = study(n_layers=12, year_sd=0.1)  # series stand for features
READINGS = PLAN.readings


def activations(effect: float) -> list[np.ndarray]:
    """Per place `[condition carrier feature]`: the planted feature rises under the trigger."""
    grids = [grid.copy() for grid in PLAN.suspect]
    for grid in grids[1:]:
        grid[0, :, PLANTED] += effect
    return grids


def sums(grids: list[np.ndarray]) -> FeatureSums:
    """As if read prompt by prompt: the rows of all places, one condition at a time."""

    def conditions():
        for condition in range(len(grids[0])):
            rows = [
                grid[condition, item.selection] for grid, item in zip(grids, READINGS, strict=True)
            ]
            place = np.repeat(np.arange(len(rows)), [len(values) for values in rows])
            yield np.concatenate(rows), place

    return FeatureSums.of(conditions(), np.array([len(item.selection) for item in READINGS]))


def read(effect: float, *, clean: bool = True) -> SaeReading:
    here = activations(effect)
    choice = choose_features(sums(here), sums(PLAN.clean) if clean else None, READINGS)
    reading = READINGS[choice.place]
    there = PLAN.clean[choice.place][:, reading.report] if clean else None
    found = FeatureScores(
        suspect=here[choice.place][:, reading.report],
        clean=there,
        pretend_effects=np.linspace(-0.1, 0.1, 20),
        random=TINY_EFFECTS,
        probe_suspect=Unscored("not run"),
        probe_clean=None,
    )
    return read_sae(Site(1), choice, found, reading, DRAWS, lambda feature: f"page/{feature}")


# --- features ------------------------------------------------------------------------------------


def test_sums_give_the_means_of_the_rows() -> None:
    found = sums(PLAN.suspect)
    for grid, item in zip(PLAN.suspect, READINGS, strict=True):
        rows = grid[:, item.selection].astype(np.float64)
        np.testing.assert_allclose(found.mean[:, item.place], rows.mean(axis=1), atol=1e-12)
        np.testing.assert_allclose(found.square[:, item.place], (rows**2).sum(axis=1))


@pytest.mark.parametrize("clean", [True, False])
def test_a_planted_feature_is_ranked_first_and_reported(clean: bool) -> None:
    found = read(3.0, clean=clean)
    top = found.features[0]
    assert (top.feature, top.url) == (PLANTED, f"page/{PLANTED}")
    assert top.effect.low > 0.0
    assert found.pretend.beyond_all
    assert found.features[0].percentiles["unrelated"] == 1.0
    assert found.permutation.p == pytest.approx(1 / (1 + DRAWS.n_permutations))
    assert (found.auc_advantage is None) == (top.auc_clean is None) == (not clean)


def test_the_shown_features_descend_and_are_the_best() -> None:
    choice = choose_features(sums(activations(3.0)), sums(PLAN.clean), READINGS)
    shown = choice.effects[list(choice.shown)]
    assert len(shown) == SHOWN
    assert (np.diff(shown) <= 0.0).all()
    assert shown.min() >= np.delete(choice.effects, choice.shown).max()


def test_a_feature_that_was_not_planted_is_not_beyond_the_others() -> None:
    """The best of a dictionary, on the other half of the carriers."""
    found = read(0.0)
    assert abs(found.features[0].effect.value) < 0.5
    assert found.features[0].effect.low < 0.0


def test_features_need_a_place_that_can_be_read() -> None:
    closed = [replace(item, degenerate="one text") for item in READINGS]
    with pytest.raises(BadInputError, match="a place that can be read"):
        choose_features(sums(PLAN.suspect), None, closed)


@pytest.mark.parametrize("clean", [True, False])
def test_each_control_reports_where_it_chose(clean: bool) -> None:
    """Against one control at a time, with all its carriers: rows and columns are looked up."""
    here = activations(1.0)
    there = PLAN.clean if clean else [np.zeros_like(grid) for grid in here]
    choice = choose_features(sums(here), sums(PLAN.clean) if clean else None, READINGS)
    features = sorted({pick.series for pick in choice.roles[1:]})
    carriers = np.unique(np.concatenate([READINGS[p.place].report for p in choice.roles[1:]]))
    some = [np.stack([g[:, carriers][..., features] for g in grids], 2) for grids in (here, there)]
    found = pretend_feature_effects(
        some[0], some[1] if clean else None, carriers, features, choice, READINGS
    )
    for condition, pick in enumerate(choice.roles[1:], start=1):
        rows = READINGS[pick.place].report
        pair = [grids[pick.place][:, rows, pick.series] for grids in (here, there)]
        unit = np.stack(pair).astype(np.float64).std()
        expected = effect_of(*pair, scale=float(unit), condition=condition)
        assert found[condition - 1] == pytest.approx(expected, rel=1e-6)
    assert len({(pick.place, pick.series) for pick in choice.roles[1:]}) > 1


def test_a_choice_is_read_at_the_triggers_place() -> None:
    choice = choose_features(sums(activations(3.0)), None, READINGS)
    assert isinstance(choice, FeatureChoice)
    assert choice.place == choice.roles[0].place
    assert choice.effects[choice.shown[0]] == pytest.approx(choice.roles[0].score)


# --- directions that mean nothing ----------------------------------------------------------------


@pytest.mark.parametrize("clean", [True, False])
def test_a_directions_effect_is_a_traits(clean: bool) -> None:
    here, there = scores(1), scores(2) if clean else None
    found = direction_effects(DirectionScores(here, there))
    baseline = np.zeros_like(here) if there is None else there
    unit = spread(here if there is None else there)
    expected = [
        effect_of(here[..., i], baseline[..., i], scale=float(unit[i])) for i in range(len(found))
    ]
    np.testing.assert_allclose(found, expected)


def test_directions_choose_on_one_split_and_report_on_the_other() -> None:
    halves = [
        [DirectionScores(scores(10 * place + half), None) for half in (0, 1)] for place in (1, 2)
    ]
    looks = Looks.of((chosen_on, reported_on) for chosen_on, reported_on in halves)
    found = effects_after_choice([looks])
    for draw in range(3):
        advantages = [trigger_advantages(half[0].suspect, None)[draw] for half in halves]
        best = halves[int(np.argmax(advantages))][1]
        assert found[draw] == pytest.approx(direction_effects(best)[draw])


def test_without_looks_there_are_no_effects() -> None:
    assert effects_after_choice([]).shape == (0,)


# --- AUROC rows ----------------------------------------------------------------------------------


def test_aurocs_by_control_are_those_of_each_series() -> None:
    values = np.round(scores(), 1)  # with ties
    found = aucs_by_control(values)
    labels = np.repeat([1, 0], values.shape[1])
    for series in range(values.shape[2]):
        np.testing.assert_array_equal(found[:, series], auc_per_control(values[..., series]))
        for control in range(1, len(values)):
            both = np.concatenate([values[0, :, series], values[control, :, series]])
            assert found[control - 1, series] == pytest.approx(roc_auc_score(labels, both))
