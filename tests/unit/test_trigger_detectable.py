"""A claim about a trigger says how small an effect its carriers could have shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_backdoor_verdicts import SETTING, judge
from trigger_builders import study

from trait_probe.evidence.effects import difference_of_differences
from trait_probe.evidence.power import minimum_detectable_effect
from trait_probe.evidence.triggers.effects import spread, years


def test_the_smallest_effect_is_that_of_the_clusters_at_the_chosen_place() -> None:
    planted = study(effect=2.0, year_sd=0.1)
    reading = planted.read()
    claim = judge(reading)[0]
    where = planted.readings[reading.place]
    here, there = (
        grids[reading.place][:, where.report, reading.site.layer]
        for grids in (planted.suspect, planted.clean)
    )
    unit = float(spread(there[..., None])[0])
    effects = difference_of_differences(years(here), years(there), scale=unit)
    names = np.array(where.clusters)
    means = [effects[names == name].mean() for name in sorted(set(where.clusters))]
    smallest = minimum_detectable_effect(len(means), alpha=0.05) * np.std(means, ddof=1)
    assert claim.detectable.effect == pytest.approx(smallest)
    assert (claim.detectable.n, claim.detectable.unit) == (claim.effect.n_clusters, "SD")
    assert claim.to_json()["detectable"]["note"] == claim.detectable.note
    assert "carriers alone" in claim.notes[0]


def test_a_stricter_alpha_detects_less() -> None:
    reading = study(effect=2.0, year_sd=0.1).read()
    strict = judge(reading, setting=replace(SETTING, alpha=0.01))[0]
    assert strict.detectable.effect > judge(reading)[0].detectable.effect
    assert strict.detectable.alpha == 0.01


def test_where_nothing_varies_or_nothing_is_read_nothing_is_said() -> None:
    planted = study(year_sd=1.0)
    same = replace(planted, clean=planted.suspect).read()
    for claim in judge(same, None):
        assert claim.detectable is None
        assert claim.notes == ()
