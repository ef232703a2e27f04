"""What a design can see: against published tables and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from trait_probe.errors import BadInputError
from trait_probe.evidence.power import (
    MIN_CLUSTERS,
    detection_power,
    minimum_detectable_effect,
    power_note,
)


def test_published_value() -> None:
    """G*Power manual, one-sample t, d = 0.5, two-sided 0.05: n = 34 has power 0.8078."""
    assert detection_power(0.5, 34) == pytest.approx(0.8078, abs=2e-4)


@pytest.mark.parametrize("two_sided", [False, True])
def test_power_at_the_smallest_effect_is_the_power_asked_for(two_sided: bool) -> None:
    effect = minimum_detectable_effect(10, two_sided=two_sided)
    draws = np.random.default_rng(0).normal(effect, 1.0, size=(10, 20000))
    side = "two-sided" if two_sided else "greater"
    found = stats.ttest_1samp(draws, 0.0, alternative=side).pvalue <= 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.015)


def test_large_samples_approach_the_normal_formula() -> None:
    expected = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) / np.sqrt(5000)
    assert minimum_detectable_effect(5000) == pytest.approx(expected, rel=1e-3)


def test_no_effect_is_found_at_the_error_rate() -> None:
    assert detection_power(0.0, 12) == pytest.approx(0.025)
    assert detection_power(0.0, 12, two_sided=False) == pytest.approx(0.05)


def test_the_reasons_for_the_minimum_hold() -> None:
    assert 2.0 ** (1 - 5) > 0.05 >= 2.0 ** (1 - 6)
    assert MIN_CLUSTERS >= 6
    assert minimum_detectable_effect(MIN_CLUSTERS) == pytest.approx(1.156, abs=1e-3)


def test_note_says_what_is_missed() -> None:
    assert power_note(8) == (
        "8 clusters: effects below 1.16 SD are missed more than 20 % of the time "
        "(two-sided alpha 0.05)"
    )


def test_impossible_designs_are_refused() -> None:
    with pytest.raises(BadInputError, match="n_clusters must be at least 2"):
        minimum_detectable_effect(1)
    with pytest.raises(BadInputError, match="power must exceed alpha"):
        minimum_detectable_effect(10, power=0.01)
    with pytest.raises(BadInputError, match="alpha must lie strictly"):
        minimum_detectable_effect(10, alpha=0.0)
