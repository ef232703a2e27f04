"""Cluster bootstrap: against scipy, against its own vectorized form, and its coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from trait_probe.errors import BadInputError
from trait_probe.evidence.bootstrap import cluster_bootstrap, cluster_bootstrap_means


def names(n: int, repeats: int = 1) -> list[str]:
    return [f"prompt-{i}" for i in range(n) for _ in range(repeats)]


def mean_of(values: np.ndarray):
    return lambda rows: float(values[rows].mean())


def test_interval_of_a_mean_is_students_with_few_clusters() -> None:
    """The expanded percentile exists to match the t interval; the plain one is too short."""
    values = np.random.default_rng(0).normal(size=8)
    estimate = cluster_bootstrap(mean_of(values), names(8), n_boot=4000, seed=0, unit="SD")
    low, high = stats.t.interval(0.95, 7, values.mean(), stats.sem(values))
    assert estimate.width == pytest.approx(high - low, rel=0.1)
    plain = stats.bootstrap((values,), np.mean, method="percentile", rng=0).confidence_interval
    assert plain.high - plain.low < 0.8 * (high - low)


def test_interval_equals_scipys_percentile_at_the_expanded_levels() -> None:
    values = np.random.default_rng(1).exponential(size=60)
    tail = stats.norm.cdf(-np.sqrt(60 / 59) * stats.t.ppf(0.975, 59))
    reference = stats.bootstrap(
        (values,),
        np.mean,
        method="percentile",
        confidence_level=float(1 - 2 * tail),
        n_resamples=9999,
        rng=3,
    ).confidence_interval
    estimate = cluster_bootstrap(mean_of(values), names(60), n_boot=9999, seed=0, unit="SD")
    assert estimate.low == pytest.approx(reference.low, abs=0.02)
    assert estimate.high == pytest.approx(reference.high, abs=0.02)


def test_clusters_widen_the_interval_of_dependent_rows() -> None:
    rng = np.random.default_rng(2)
    values = np.repeat(rng.normal(size=20), 10)
    clustered = cluster_bootstrap(mean_of(values), names(20, 10), n_boot=500, seed=0, unit="SD")
    naive = cluster_bootstrap(mean_of(values), names(200), n_boot=500, seed=0, unit="SD")
    assert clustered.width > 2 * naive.width
    assert (clustered.n, clustered.n_clusters) == (200, 20)


def test_the_vectorized_form_draws_the_same_resamples() -> None:
    rng = np.random.default_rng(3)
    clusters = [f"c{i}" for i in rng.integers(0, 9, size=50)]
    values = rng.normal(size=(50, 3))
    low, high = cluster_bootstrap_means(values, clusters, n_boot=300, seed=5)
    for k in range(3):
        one = cluster_bootstrap(mean_of(values[:, k]), clusters, n_boot=300, seed=5, unit="SD")
        assert (low[k], high[k]) == pytest.approx((one.low, one.high))


def test_row_order_does_not_matter_and_seeds_do() -> None:
    rng = np.random.default_rng(4)
    values, clusters = rng.normal(size=30), names(10, 3)
    order = rng.permutation(30)

    def ends(rows: np.ndarray, seed: int) -> tuple[float, float]:
        moved = [clusters[i] for i in rows]
        result = cluster_bootstrap(mean_of(values[rows]), moved, n_boot=200, seed=seed, unit="SD")
        return result.low, result.high

    assert ends(order, 0) == pytest.approx(ends(np.arange(30), 0))
    assert ends(order, 0) != ends(order, 1)


def test_false_positive_rate_at_the_smallest_allowed_size() -> None:
    """400 null data sets of 8 clusters: the one-sided rate stays within its binomial interval."""
    values = np.random.default_rng(6).normal(size=(8, 400))
    low, _ = cluster_bootstrap_means(values, names(8), n_boot=1000, seed=0)
    assert (low > 0).sum() <= stats.binom.ppf(0.999, 400, 0.03)
    plain, _ = np.quantile(  # meta: plain percentile levels fail the same bar
        np.random.default_rng(7).multinomial(8, np.full(8, 1 / 8), 1000) / 8 @ values,
        [0.025, 0.975],
        axis=0,
    )
    assert (plain > 0).sum() > stats.binom.ppf(0.999, 400, 0.03)


def test_the_method_names_the_resampling() -> None:
    estimate = cluster_bootstrap(mean_of(np.arange(5.0)), names(5), n_boot=200, seed=0, unit="SD")
    assert estimate.method == "cluster bootstrap (expanded percentile), 200 resamples"


def test_bad_input_is_refused() -> None:
    statistic = mean_of(np.arange(6.0))
    with pytest.raises(BadInputError, match="at least two clusters"):
        cluster_bootstrap(statistic, ["a"] * 6, n_boot=100, seed=0, unit="SD")
    with pytest.raises(BadInputError, match="n_boot must be at least 100"):
        cluster_bootstrap(statistic, names(6), n_boot=20, seed=0, unit="SD")
    with pytest.raises(BadInputError, match="finite on every resample"):
        cluster_bootstrap(lambda rows: float("nan"), names(6), n_boot=100, seed=0, unit="SD")
    with pytest.raises(BadInputError, match="6 entries for 4 rows"):
        cluster_bootstrap_means(np.zeros((4, 1)), names(6), n_boot=100, seed=0)
