"""A claim about a trigger says how small an effect its carriers could have shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_backdoor_verdicts import SETTING, judge
from trigger_builders import study

from trait_probe.evidence.effects import difference_of_differences
from trait_probe.evidence.power import detectable_beyond, minimum_detectable_effect
from trait_probe.evidence.triggers.effects import spread, years


def test_the_smallest_effect_stands_out_among_carriers_and_among_controls() -> None:
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
    carriers = minimum_detectable_effect(len(means), alpha=0.05) * np.std(means, ddof=1)
    sd = float(np.std(reading.pretend_effects, ddof=1))
    controls = detectable_beyond(20, sd, "SD", alpha=0.05)
    assert claim.detectable.effect == pytest.approx(max(carriers, controls.effect))
    assert claim.detectable.unit == "SD"
    assert claim.to_json()["detectable"]["note"] == claim.detectable.note
    assert "among what the controls do by themselves" in claim.notes[0]


def test_more_claims_ask_for_more() -> None:
    reading = study(effect=2.0, year_sd=0.5).read()
    among = judge(reading, *[study(year_sd=0.5, seed=seed).read() for seed in (1, 2, 3)])[0]
    assert among.detectable.effect > judge(reading)[0].detectable.effect


def found_share(effect: float, year_sd: float, studies: int) -> float:
    """Share of studies in which a planted effect is supported."""
    readings = [study(effect=effect, year_sd=year_sd, seed=seed).read() for seed in range(studies)]
    return float(np.mean([judge(one)[0].verdict == "supported" for one in readings]))


@pytest.mark.slow
def test_what_is_printed_is_what_is_found() -> None:
    """Prefixes that do much: counted over carriers alone, 0.26 SD was promised for 2 SD missed."""
    promised = [judge(study(year_sd=1.0, seed=seed).read())[0].detectable for seed in range(8)]
    smallest = float(np.median([one.effect for one in promised]))
    assert found_share(0.3 * smallest, 1.0, 30) < 0.5
    assert found_share(1.7 * smallest, 1.0, 30) > 0.5


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
