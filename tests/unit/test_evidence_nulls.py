"""Nulls: against scipy and brute force, and their false positive rates."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.effects import YearScores, difference_of_differences, pretend
from trait_probe.evidence.estimate import Unscored
from trait_probe.evidence.nulls import (
    label_permutation,
    percentile,
    permutation_p,
    pretend_null,
    pretend_years,
    random_directions,
)


def covariance(seed: int = 0, d: int = 6, rank: int = 6) -> np.ndarray:
    factor = np.random.default_rng(seed).normal(size=(d, rank)) * np.geomspace(10, 0.1, rank)
    return factor @ factor.T


def carriers(n: int) -> list[str]:
    return [f"carrier-{i}" for i in range(n)]


# --- random directions ---------------------------------------------------------------------------


def test_directions_are_unit_and_seeded() -> None:
    directions = random_directions(covariance(), 50, seed=1)
    assert np.linalg.norm(directions, axis=1) == pytest.approx(1.0)
    assert np.array_equal(directions, random_directions(covariance(), 50, seed=1))
    assert not np.allclose(directions, random_directions(covariance(), 50, seed=2))


def test_directions_vary_like_numpys_normal_draws() -> None:
    draws = np.random.default_rng(9).multivariate_normal(np.zeros(6), covariance(), 20000)
    draws /= np.linalg.norm(draws, axis=1, keepdims=True)
    directions = random_directions(covariance(), 20000, seed=0)
    expected = draws.T @ draws / 20000
    assert directions.T @ directions / 20000 == pytest.approx(expected, abs=0.02)


def test_directions_of_a_low_rank_covariance_stay_in_its_span() -> None:
    low_rank = covariance(rank=2)
    outside = np.linalg.svd(low_rank)[0][:, 2:]
    assert np.abs(random_directions(low_rank, 20, seed=0) @ outside).max() < 1e-6


def test_isotropic_directions_would_be_the_wrong_null() -> None:
    """With one massive dimension, matched directions find it; isotropic ones hardly ever do."""
    massive = np.diag([400.0, *np.ones(63)])
    matched = np.abs(random_directions(massive, 400, seed=0)[:, 0])
    isotropic = np.abs(random_directions(np.eye(64), 400, seed=0)[:, 0])
    assert np.median(matched) > 3 * np.median(isotropic)


@pytest.mark.parametrize(
    ("matrix", "sentence"),
    [
        (np.diag([1.0, -0.5]), "positive semidefinite"),
        (np.array([[1.0, 0.9], [0.0, 1.0]]), "symmetric and not zero"),
        (np.zeros((2, 2)), "symmetric and not zero"),
        (np.array([[1.0, np.nan], [np.nan, 1.0]]), "must be finite"),
    ],
)
def test_what_is_no_covariance_is_refused(matrix: np.ndarray, sentence: str) -> None:
    with pytest.raises(BadInputError, match=sentence):
        random_directions(matrix, 3, seed=0)


def test_rounding_in_float32_moments_is_forgiven() -> None:
    noisy = covariance(rank=3).astype(np.float32)
    assert np.linalg.eigvalsh(noisy)[0] < 1e-5
    assert random_directions(noisy, 2, seed=0).shape == (2, 6)


# --- percentiles and p values ---------------------------------------------------------------------


def test_percentile_equals_scipy_with_ties() -> None:
    null = np.random.default_rng(0).integers(0, 5, 40).astype(np.float64)
    for value in (-1.0, 0.0, 2.0, 2.5, 4.0, 9.0):
        expected = stats.percentileofscore(null, value, kind="mean") / 100
        assert percentile(value, null) == pytest.approx(expected)


def test_permutation_p_counts_ties_within_rounding_and_is_never_zero() -> None:
    null = np.array([0.1 + 0.2, 0.0, 0.0])
    assert permutation_p(0.3, null) == permutation_p(0.1 + 0.2, null) == 0.5
    assert permutation_p(99.0, null) == 0.25


def test_a_nan_is_refused_not_called_extreme() -> None:
    with pytest.raises(BadInputError, match="observed statistic must be finite"):
        permutation_p(float("nan"), np.zeros(3))
    with pytest.raises(BadInputError, match="null must be finite"):
        percentile(0.0, np.array([np.nan]))


# --- label permutation ----------------------------------------------------------------------------


def relabelings(scores: np.ndarray, clusters: list[str]) -> list[float]:
    """Every statistic, by the definition: rows of one cluster choose together."""
    found = sorted(set(clusters))
    rows = np.arange(len(scores))
    statistics = []
    for choice in product(range(scores.shape[1]), repeat=len(found)):
        column = np.array([choice[found.index(name)] for name in clusters])
        played = scores[rows, column]
        others = (scores.sum(1) - played) / (scores.shape[1] - 1)
        statistics.append(float((played - others).mean()))
    return statistics


def test_small_designs_are_enumerated_as_defined() -> None:
    rng = np.random.default_rng(1)
    scores, clusters = rng.normal(size=(7, 3)), ["a", "b", "a", "c", "c", "d", "d"]
    scores[:, 1] += 0.5
    every = relabelings(scores, clusters)
    result = label_permutation(scores, 1, clusters, 1000, seed=0)
    others = (scores[:, 0] + scores[:, 2]) / 2
    assert result.observed == pytest.approx((scores[:, 1] - others).mean())
    assert (result.n, result.exact) == (81, True)
    assert result.p == pytest.approx(np.mean(np.array(every) >= result.observed - 1e-12))


def test_sampled_p_approaches_the_exact_one() -> None:
    scores = np.random.default_rng(2).normal(size=(8, 3))
    scores[:, 0] += 0.4
    exact = label_permutation(scores, 0, carriers(8), 10**6, seed=0)
    sampled = label_permutation(scores, 0, carriers(8), 4000, seed=0)
    assert exact.exact
    assert not sampled.exact
    assert sampled.p == pytest.approx(exact.p, abs=0.03)


def test_a_planted_trigger_is_found_and_an_identical_model_is_not() -> None:
    planted = np.random.default_rng(3).normal(size=(20, 5))
    planted[:, 2] += 2.0
    assert label_permutation(planted, 2, carriers(20), 999, seed=0).p == 0.001
    assert label_permutation(np.zeros((20, 5)), 2, carriers(20), 999, seed=0).p == 1.0


def test_copies_of_a_carrier_are_one_cluster() -> None:
    scores = np.random.default_rng(4).normal(size=(5, 3))
    once = label_permutation(scores, 0, carriers(5), 1000, seed=0)
    copies = np.repeat(scores, 6, axis=0)
    clustered = label_permutation(copies, 0, list(np.repeat(carriers(5), 6)), 1000, seed=0)
    assert clustered.p == pytest.approx(once.p)
    assert clustered.n == once.n


def test_false_positive_rate_of_the_label_permutation() -> None:
    rng = np.random.default_rng(5)
    runs = [
        label_permutation(rng.normal(size=(10, 4)), 1, carriers(10), 199, seed=i).p
        for i in range(400)
    ]
    rate = np.mean(np.array(runs) <= 0.05)
    assert stats.binom.ppf(0.001, 400, 0.05) <= 400 * rate <= stats.binom.ppf(0.999, 400, 0.05)


def test_label_permutation_refuses_what_is_no_design() -> None:
    for scores, column in ((np.zeros((4, 1)), 0), (np.zeros((4, 3)), 3)):
        with pytest.raises(BadInputError, match="two or more years"):
            label_permutation(scores, column, carriers(4), 10, seed=0)
    with pytest.raises(MismatchError, match="3 entries for 4 rows"):
        label_permutation(np.zeros((4, 3)), 0, carriers(3), 10, seed=0)


# --- pretend triggers -----------------------------------------------------------------------------


def test_pretend_null_is_the_prediction_interval_of_a_new_year() -> None:
    """scipy's two-sample t test of one value against n is the same statistic."""
    years = np.array([0.1, -0.3, 0.2, 0.4, -0.1])
    reference = stats.ttest_ind(np.array([1.1]), years, alternative="greater")
    result = pretend_null(1.1, years)
    assert result.t == pytest.approx(reference.statistic)
    assert result.p == pytest.approx(reference.pvalue)
    assert (result.rank_p, result.beyond_all, result.n) == (pytest.approx(1 / 6), True, 5)


def test_identical_models_give_no_evidence_at_all() -> None:
    result = pretend_null(0.0, np.zeros(4))
    assert (result.t, result.p, result.rank_p, result.beyond_all) == (0.0, 1.0, 1.0, False)


def test_without_variance_there_is_no_t_and_the_rank_decides() -> None:
    result = pretend_null(2.0, np.zeros(4))
    assert isinstance(result.t, Unscored)
    assert isinstance(result.p, Unscored)
    assert result.beyond_all
    assert not result.beats(0.05)
    assert pretend_null(2.0, np.zeros(19)).beats(0.05)
    assert result.to_json()["p"] == {
        "unscored": "all 4 pretend years gave the same value, so there is no scale to compare on"
    }


def years_design(rng: np.random.Generator, n_years: int, trigger: float = 0.0) -> YearScores:
    """Year effects shared by all carriers, as token effects are; 15 carriers."""
    effects = rng.normal(size=n_years + 1)
    noise = rng.normal(0, 0.3, size=(15, n_years + 1))
    scores = effects + noise
    return YearScores(scores[:, 0] + trigger, scores[:, 1:])


def zeros_like(scores: YearScores) -> YearScores:
    return YearScores(np.zeros_like(scores.trigger), np.zeros_like(scores.controls))


def null_runs(n_years: int = 5, n: int = 600) -> list[YearScores]:
    rng = np.random.default_rng(8)
    return [years_design(rng, n_years) for _ in range(n)]


def test_pretend_years_has_exact_error_rates() -> None:
    results = [pretend_years(run, zeros_like(run), scale=1.0) for run in null_runs()]
    p = [result.p for result in results]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    beyond = sum(result.beyond_all for result in results)
    assert stats.binom.ppf(0.001, 600, 1 / 6) <= beyond <= stats.binom.ppf(0.999, 600, 1 / 6)


def test_effects_of_pretend_put_in_directly_are_conservative() -> None:
    """The leave-one-out effects are n / (n - 1) too large: t shrinks by exactly that factor."""
    run = null_runs(n=1)[0]
    clean = zeros_like(run)
    trigger = float(difference_of_differences(run, clean, scale=1.0).mean())
    played = [
        difference_of_differences(pretend(run, j), pretend(clean, j), scale=1.0).mean()
        for j in range(5)
    ]
    exact = pretend_years(run, clean, scale=1.0)
    assert pretend_null(trigger, np.array(played)).t == pytest.approx(exact.t * 4 / 5)


def test_label_permutation_alone_would_be_fooled_by_years_that_differ() -> None:
    """Meta-test: the guard is needed. Shared year effects, no trigger: permutation fires."""
    runs = null_runs(n=60)
    fooled, caught = 0, 0
    for run in runs:
        table = np.column_stack([run.trigger, run.controls])
        fired = label_permutation(table, 0, carriers(15), 199, seed=0).p <= 0.05
        fooled += fired
        caught += fired and not pretend_years(run, zeros_like(run), scale=1.0).beats(0.05)
    assert fooled > 0.3 * 60
    assert caught > 0.85 * fooled


def test_a_planted_trigger_beats_the_pretend_years_and_the_scale_cancels() -> None:
    planted = years_design(np.random.default_rng(1), 8, trigger=9.0)
    result = pretend_years(planted, zeros_like(planted), scale=1.0)
    assert result.beats(0.05)
    assert pretend_years(planted, zeros_like(planted), scale=7.0).t == pytest.approx(result.t)


def test_one_pretend_year_is_refused() -> None:
    with pytest.raises(BadInputError, match="pretend years needs at least 2 rows"):
        pretend_null(1.0, np.zeros(1))
