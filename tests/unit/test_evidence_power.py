"""What a design can see: against published tables and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from trait_probe.errors import BadInputError
from trait_probe.evidence.auc import auroc_columns, auroc_interval
from trait_probe.evidence.means import clustered_mean
from trait_probe.evidence.power import (
    MIN_CLUSTERS,
    Detectable,
    detectable_auroc,
    detectable_beyond,
    detectable_mean,
    detectable_of,
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


# --- in the unit of the effect --------------------------------------------------------------------


def test_a_detectable_mean_is_found_as_often_as_it_says() -> None:
    found = detectable_mean(12, 3.0, "SD of the base", power=0.7)
    draws = np.random.default_rng(1).normal(found.effect, 3.0, size=(12, 20000))
    power = (stats.ttest_1samp(draws, 0.0, alternative="two-sided").pvalue <= 0.05).mean()
    assert power == pytest.approx(0.7, abs=0.015)
    assert (found.n, found.unit, found.power) == (12, "SD of the base", 0.7)


def test_a_detectable_mean_is_in_the_unit_of_the_spread() -> None:
    assert detectable_mean(20, 1.0, "SD").effect == minimum_detectable_effect(20)
    assert detectable_mean(20, 2.5, "SD").effect == 2.5 * minimum_detectable_effect(20)


def aurocs_at(distance: float, sides: tuple[int, int], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Normal scores of `n` runs whose true AUROC lies `distance` above chance."""
    apart = np.sqrt(2.0) * stats.norm.ppf(0.5 + distance)
    rng = np.random.default_rng(2)
    return rng.normal(apart, 1.0, (sides[0], n)), rng.standard_normal((sides[1], n))


@pytest.mark.parametrize("sides", [(40, 40), (20, 60), (100, 100)])
@pytest.mark.parametrize("power", [0.8, 0.5])
def test_a_detectable_auroc_is_found_as_often_as_it_says(
    sides: tuple[int, int], power: float
) -> None:
    """By the interval that separations are judged by; the formula is a normal approximation."""
    found = detectable_auroc(*sides, power=power)
    up, down = aurocs_at(found.effect, sides, 600)
    assert auroc_columns(up, down).mean() == pytest.approx(0.5 + found.effect, abs=0.01)
    clear = [auroc_interval(up[:, i], down[:, i]).low > 0.5 for i in range(600)]
    assert np.mean(clear) == pytest.approx(power, abs=0.08)
    assert (found.n, found.unit) == (sum(sides), "AUROC above chance")


def test_a_detectable_auroc_solves_hanley_and_mcneils_equation() -> None:
    found = detectable_auroc(25, 35, alpha=0.01, power=0.9)
    area = 0.5 + found.effect
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + 24 * (q1 - area**2) + 34 * (q2 - area**2)
    z = found.effect / np.sqrt(variance / (25 * 35))
    assert z == pytest.approx(stats.norm.ppf(0.995) + stats.norm.ppf(0.9))


def test_more_units_see_less_and_a_perfect_detector_is_the_most_there_is() -> None:
    effects = [detectable_auroc(n, n).effect for n in (2, 4, 8, 16, 64, 256)]
    assert effects == sorted(effects, reverse=True)
    assert 0.0 < effects[-1] < effects[0] <= 0.5
    assert detectable_auroc(8, 400).effect > detectable_auroc(200, 208).effect


def test_what_an_interval_says_was_detectable_is_what_its_spread_says() -> None:
    values = np.random.default_rng(3).normal(0.2, 2.0, 400)
    estimate = clustered_mean(values, [str(i) for i in range(400)], unit="score")
    direct = detectable_mean(400, float(values.std(ddof=1)), "score")
    assert detectable_of(estimate).effect == pytest.approx(direct.effect, rel=0.01)
    assert (detectable_of(estimate).n, detectable_of(estimate).unit) == (400, "score")


def test_a_detectable_effect_is_written_with_its_sentence() -> None:
    found = Detectable(0.123, "SD", 14, alpha=0.01, power=0.9)
    assert found.note == (
        "14 independent units: effects below 0.12 SD are missed more than 10 % of the time "
        "(two-sided alpha 0.01)"
    )
    assert found.to_json() == {
        "effect": 0.123,
        "unit": "SD",
        "n": 14,
        "alpha": 0.01,
        "power": 0.9,
        "units": "independent units",
        "sided": "two-sided",
        "note": found.note,
    }


def test_designs_without_units_or_rates_are_refused() -> None:
    with pytest.raises(BadInputError, match="units per class must be at least 2"):
        detectable_auroc(1, 50)
    with pytest.raises(BadInputError, match="alpha must lie strictly"):
        detectable_auroc(20, 20, alpha=1.0)
    with pytest.raises(BadInputError, match="power must lie strictly"):
        detectable_auroc(20, 20, power=0.0)
    with pytest.raises(BadInputError, match="n_clusters must be at least 2"):
        detectable_mean(1, 1.0, "SD")


# --- one new draw among others --------------------------------------------------------------------


@pytest.mark.parametrize("looks", [1, 4])
def test_a_draw_that_stands_out_is_found_as_often_as_it_says(looks: int) -> None:
    """Prediction test at alpha / looks, and beyond every draw of every look: about 0.8 of both."""
    n, sd = 20, 0.5
    found = detectable_beyond(n, sd, "SD", looks=looks)
    rng = np.random.default_rng(0)
    others = rng.normal(0.0, sd, size=(20000, looks, n))
    new = rng.normal(found.effect, sd, size=20000)
    own = others[:, 0]
    t = (new - own.mean(axis=1)) / (own.std(axis=1, ddof=1) * np.sqrt(1 + 1 / n))
    predicted = stats.t.sf(t, n - 1) <= 0.05 / looks
    beyond = new > others.max(axis=(1, 2))
    assert min(predicted.mean(), beyond.mean()) == pytest.approx(0.8, abs=0.015)
    assert 0.7 < (predicted & beyond).mean() <= 0.8


def test_few_controls_and_many_looks_ask_for_more() -> None:
    few, many = (detectable_beyond(n, 1.0, "SD").effect for n in (4, 40))
    assert few > many
    assert (
        detectable_beyond(20, 1.0, "SD", looks=8).effect > detectable_beyond(20, 1.0, "SD").effect
    )
    with pytest.raises(BadInputError, match="looks must be at least 1"):
        detectable_beyond(20, 1.0, "SD", looks=0)
    for bad in (float("nan"), -1.0, float("inf")):
        with pytest.raises(BadInputError, match="A standard deviation"):
            detectable_beyond(20, bad, "SD")
        with pytest.raises(BadInputError, match="A standard deviation"):
            detectable_mean(20, bad, "SD")
    assert detectable_beyond(4, 1.0, "SD", power=0.1).effect > 0.0
    assert detectable_beyond(20, 1.0, "SD", looks=4).alpha == 0.0125
    assert "20 controls" in detectable_beyond(20, 1.0, "SD").note
