"""SAE features of the backdoor experiment: the shared pass reads what each control alone reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from backdoor_runs import read_evil

import trait_probe as tp
from trait_probe.evidence.triggers.effects import Chosen, effect_of, pooled_spread
from trait_probe.evidence.triggers.feature_choice import FeatureChoice
from trait_probe.experiments._backdoor.features import _pretend_effects


@pytest.mark.slow
def test_each_control_reports_its_own_feature_at_its_own_place():
    suspect, clean = tp.load_model("organism:backdoored"), tp.load_model("organism:clean")
    study = read_evil(suspect, clean)
    sae = tp.load_sae("organism:backdoored-sae", suspect)
    conditions, readings = study.conditions, list(study.readings)
    readable = [reading.place for reading in readings if reading.degenerate is None]
    last = readings[readable[-1]]  # carriers that report differ from place to place
    readings[last.place] = replace(last, report=last.report[1::2])

    def alone(model, place):
        """All features of one model at one place, read without the others."""
        rendered = conditions.some(readings[place].report)
        rule = conditions.rule_at(place)
        found = tp.sae_features(model, rendered, sae, position=rule).values[sae.site]
        return found.reshape(len(conditions.names), -1, sae.d_sae)

    def liveliest(place, rank):
        """A feature that varies there, so that a mistaken place or feature gives another effect."""
        return int(np.argsort(-alone(suspect, place).std(axis=(0, 1)))[rank])

    places = [readable[0], readable[-1], readable[0], readable[-1], readable[1]]
    picks = [(place, liveliest(place, rank)) for rank, place in enumerate(places)]
    chosen = tuple(Chosen(place, feature, 0.0) for place, feature in picks)
    choice = FeatureChoice(chosen, np.zeros(sae.d_sae))
    found = _pretend_effects(suspect, clean, sae, conditions, readings, choice)
    for control, (place, feature) in enumerate(picks[1:], start=1):
        here, there = (alone(model, place)[..., feature] for model in (suspect, clean))
        scale = float(pooled_spread(here[..., None], there[..., None])[0])
        expected = effect_of(here, there, scale=scale, condition=control)
        assert found[control - 1] == pytest.approx(expected, abs=1e-4)
    assert len(set(found.tolist())) == 4
