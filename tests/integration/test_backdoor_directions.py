"""Null directions of the backdoor experiment: put through the very choice that a trait makes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from backdoor_runs import read_evil

import trait_probe as tp
from trait_probe.experiments import backdoor
from trait_probe.experiments._backdoor import directions

SITES = (tp.Site(1), tp.Site(2))


@pytest.fixture(scope="module")
def study():
    return read_evil(tp.load_model("organism:backdoored"), tp.load_model("organism:clean"))


def nulls(study: SimpleNamespace, **changes: object) -> directions.NullDirections:
    asked = {"also": ()} | changes
    return backdoor.null_directions(
        study.pair, study.conditions, study.readings, study.activations, study.config, **asked
    )


@pytest.mark.slow
def test_the_traits_own_direction_gives_the_traits_own_effect(study, monkeypatch):
    """The oracle: through its own null, a trait must choose and report as it does itself."""
    own = {vector.site: vector.direction for vector in study.vectors}
    monkeypatch.setattr(
        directions, "shuffled_directions", lambda _, site, **__: torch.stack([own[site]] * 3)
    )
    found = nulls(study).of_trait("safety/evil")["unrelated"]
    reading = study.read(nulls(study))["safety/evil"]
    assert found == pytest.approx([reading.effect.value] * 3, rel=1e-4)


@pytest.mark.slow
def test_how_much_fits_in_memory_changes_nothing(study, monkeypatch):
    whole = nulls(study).of_trait("safety/evil")
    monkeypatch.setattr(directions, "MAX_BYTES", 1)  # one layer at a time
    parts = nulls(study).of_trait("safety/evil")
    for family, effects in whole.items():
        assert effects.shape == (study.config.n_random,)
        np.testing.assert_array_equal(effects, parts[family])
    assert len(set(whole["random"].tolist())) == study.config.n_random


@pytest.mark.slow
def test_a_site_beside_the_traits_has_random_directions_only(study):
    also = tp.Site(3)
    found, without = nulls(study, also=(also,)), nulls(study)
    assert len(found.at(also)) == study.config.n_random
    assert set(found.shuffled["safety/evil"]) == set(SITES)
    for family, effects in found.of_trait("safety/evil").items():
        np.testing.assert_array_equal(effects, without.of_trait("safety/evil")[family])


def test_where_no_place_can_be_read_there_are_none(study):
    usable = np.zeros(len(study.conditions.carriers), dtype=bool)
    found = backdoor.null_directions(
        study.pair,
        study.conditions,
        study.conditions.readings(usable),
        study.activations,
        study.config,
    )
    assert all(len(effects) == 0 for effects in found.of_trait("safety/evil").values())
    assert len(found.at(SITES[0])) == 0
