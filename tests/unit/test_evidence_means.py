"""Means and standardized differences: scipy's t intervals, brute-force resampling, coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.bootstrap import cluster_bootstrap
from trait_probe.evidence.effects import cohens_d, hedges_g, paired_d
from trait_probe.evidence.means import (
    clustered_mean,
    clustered_means,
    double_difference,
    interaction,
    mean_difference,
    noncentral_interval,
    paired_interaction,
    standardized_difference,
    standardized_paired,
)


def names(prefix: str, n: int) -> list[str]:
    return [f"{prefix}{i}" for i in range(n)]


def rows(seed: int, n: int, mean: float = 0.0, sd: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, sd, n)


def ends(estimate: object) -> tuple[float, float]:
    return estimate.low, estimate.high


# --- one mean -------------------------------------------------------------------------------------


def test_singleton_clusters_give_the_one_sample_t_interval() -> None:
    values = rows(0, 17, 0.3)
    reference = stats.ttest_1samp(values, 0.0).confidence_interval(0.9)
    estimate = clustered_mean(values, names("c", 17), unit="nats", level=0.9)
    assert ends(estimate) == pytest.approx((reference.low, reference.high))
    assert (estimate.value, estimate.n, estimate.n_clusters) == (
        pytest.approx(values.mean()),
        17,
        17,
    )


def test_equal_clusters_give_the_t_interval_of_their_means() -> None:
    """Closed form: with equal sizes the cluster-robust variance is that of the cluster means."""
    table = rows(1, 24).reshape(8, 3) + rows(2, 8)[:, None]
    reference = stats.ttest_1samp(table.mean(1), 0.0).confidence_interval(0.95)
    estimate = clustered_mean(table.ravel(), list(np.repeat(names("c", 8), 3)), unit="nats")
    assert ends(estimate) == pytest.approx((reference.low, reference.high))


def test_unequal_clusters_follow_the_written_formula_in_any_row_order() -> None:
    values, clusters = rows(3, 10), np.array(list("aabcccdddd"))
    mean = values.mean()
    squares = [((values - mean)[clusters == name].sum()) ** 2 for name in "abcd"]
    expected = np.sqrt(4 / 3 * sum(squares)) / 10
    order = np.random.default_rng(0).permutation(10)
    for shuffled in (np.arange(10), order):
        _, se, n_clusters = clustered_means(values[shuffled, None], list(clusters[shuffled]))
        assert se[0] == pytest.approx(expected)
        assert n_clusters == 4


def test_columns_equal_one_at_a_time() -> None:
    table, clusters = rows(4, 36).reshape(12, 3), list("aabbccddeeff")
    mean, se, _ = clustered_means(table, clusters)
    for look in range(3):
        one = clustered_mean(table[:, look], clusters, unit="SD")
        assert mean[look] == pytest.approx(one.value)
        assert se[look] * stats.t.ppf(0.975, 5) == pytest.approx(one.width / 2)


def test_equal_rows_alone_give_a_width_of_zero() -> None:
    same = clustered_mean(np.full(6, 0.1), list("aabbcc"), unit="share")
    assert same.width == 0.0
    agreeing = np.array([0.0, 1.0, 1.0, 0.0, 0.0, 1.0])
    estimate = clustered_mean(agreeing, list("aabbcc"), unit="share")
    assert clustered_means(agreeing[:, None], list("aabbcc"))[1][0] == 0.0
    assert estimate.width > 0.5
    assert "clusters agree exactly" in estimate.method


def test_clustered_interval_covers_where_the_plain_one_does_not() -> None:
    rng = np.random.default_rng(5)
    clusters = list(np.repeat(names("c", 10), 8))
    covered, plain = 0, 0
    for _ in range(400):
        values = np.repeat(rng.normal(size=10), 8) + 0.5 * rng.normal(size=80)
        covered += not clustered_mean(values, clusters, unit="SD").excludes(0.0)
        plain += not clustered_mean(values, names("r", 80), unit="SD").excludes(0.0)
    assert covered >= stats.binom.ppf(0.001, 400, 0.95)
    assert plain < 0.7 * 400


def test_one_cluster_and_missing_names_are_refused() -> None:
    with pytest.raises(BadInputError, match="number of clusters must be at least 2"):
        clustered_mean(rows(0, 4), ["a"] * 4, unit="SD")
    with pytest.raises(MismatchError, match="3 entries for 4 rows"):
        clustered_mean(rows(0, 4), names("c", 3), unit="SD")
    with pytest.raises(BadInputError, match="values must be finite"):
        clustered_mean(np.array([0.0, np.nan]), names("c", 2), unit="SD")


# --- two means ------------------------------------------------------------------------------------


def test_difference_without_clusters_is_welch() -> None:
    one, two = rows(6, 9, 1.0, 3.0), rows(7, 30)
    reference = stats.ttest_ind(one, two, equal_var=False).confidence_interval(0.95)
    estimate = mean_difference(one, two, unit="nats")
    assert ends(estimate) == pytest.approx((reference.low, reference.high))
    assert (estimate.n, estimate.n_clusters, estimate.unit) == (39, 39, "nats")


def test_difference_of_pairs_in_one_cluster_is_the_paired_t() -> None:
    """What both sides of a cluster share cancels: closed form with one row a side."""
    shared = rows(8, 14, sd=5.0)
    one, two = shared + rows(9, 14, 0.5), shared + rows(10, 14)
    reference = stats.ttest_rel(one, two).confidence_interval(0.95)
    pairs = names("c", 14)
    estimate = mean_difference(
        one, two, positive_clusters=pairs, negative_clusters=pairs, unit="SD"
    )
    assert ends(estimate) == pytest.approx((reference.low, reference.high))
    assert estimate.n_clusters == 14
    assert mean_difference(one, two, unit="SD").width > 3 * estimate.width


def test_clustered_difference_of_unequal_sides_is_the_written_form() -> None:
    one, two = rows(20, 5, 1.0), rows(21, 9)
    squares = (((one - one.mean()) / 5) ** 2).sum() + (((two - two.mean()) / 9) ** 2).sum()
    estimate = mean_difference(
        one, two, positive_clusters=names("p", 5), negative_clusters=names("n", 9), unit="SD"
    )
    assert estimate.width / 2 == pytest.approx(stats.t.ppf(0.975, 4) * np.sqrt(5 / 4 * squares))


def test_copies_in_a_cluster_add_nothing() -> None:
    one, two = rows(11, 8), rows(12, 8)
    pos, neg = names("p", 8), names("n", 8)
    once = mean_difference(one, two, positive_clusters=pos, negative_clusters=neg, unit="SD")
    copied = mean_difference(
        np.repeat(one, 5),
        np.repeat(two, 5),
        positive_clusters=list(np.repeat(pos, 5)),
        negative_clusters=list(np.repeat(neg, 5)),
        unit="SD",
    )
    assert ends(copied) == pytest.approx(ends(once))


def test_differences_without_variance() -> None:
    flat = mean_difference(np.full(3, 2.0), np.full(4, 0.5), unit="SD")
    assert (flat.value, flat.width) == (1.5, 0.0)
    one, pairs = rows(13, 6), names("c", 6)
    shifted = mean_difference(
        one + 1.0, one, positive_clusters=pairs, negative_clusters=pairs, unit="SD"
    )
    assert shifted.width > 0.0
    assert "leave no variance" in shifted.method


def test_clusters_of_one_side_only_are_refused() -> None:
    with pytest.raises(BadInputError, match="both classes or for neither"):
        mean_difference(rows(0, 3), rows(1, 3), positive_clusters=names("c", 3), unit="SD")
    with pytest.raises(BadInputError, match="two clusters in each group"):
        mean_difference(
            rows(0, 3),
            rows(1, 3),
            positive_clusters=["a"] * 3,
            negative_clusters=names("c", 3),
            unit="SD",
        )


# --- interactions ---------------------------------------------------------------------------------


def test_interaction_of_unpaired_cells_is_the_written_welch_form() -> None:
    cells = [rows(seed, 6 + seed, sd=seed + 1.0) for seed in range(4)]
    a, b, c, d = (cell.mean() for cell in cells)
    parts = np.array([cell.var(ddof=1) / len(cell) for cell in cells])
    df = parts.sum() ** 2 / (parts**2 / (np.array([6, 7, 8, 9]) - 1)).sum()
    half = stats.t.ppf(0.975, df) * np.sqrt(parts.sum())
    estimate = interaction(*cells, unit="SD")
    assert estimate.value == pytest.approx((b - a) - (d - c))
    assert estimate.width / 2 == pytest.approx(half)


def test_interaction_of_one_item_per_cluster_is_the_paired_form() -> None:
    cells = [rows(seed, 12, seed, 2.0) for seed in range(4)]
    items = names("i", 12)
    paired = paired_interaction(*cells, items, unit="SD")
    reference = stats.ttest_1samp((cells[1] - cells[0]) - (cells[3] - cells[2]), 0.0)
    interval = reference.confidence_interval(0.95)
    assert ends(paired) == pytest.approx((interval.low, interval.high))
    clustered = interaction(*cells, clusters=(items, items, items, items), unit="SD")
    assert clustered.value == pytest.approx(paired.value)
    assert ends(clustered) == pytest.approx(ends(paired))


def test_double_difference_by_hand_and_its_shapes() -> None:
    four = (np.array([5.0, 2.0]), np.array([1.0, 1.0]), np.array([3.0, 0.0]), np.array([2.0, 2.0]))
    assert double_difference(*four) == pytest.approx([3.0, 3.0])
    with pytest.raises(MismatchError, match="3 entries for 2 rows"):
        double_difference(*four[:3], np.zeros(3))
    with pytest.raises(MismatchError, match="1 entries for 2 rows"):
        double_difference(four[0], np.zeros(1), *four[2:])


# --- standardized differences ---------------------------------------------------------------------


def test_paired_effect_size_resamples_as_the_cluster_bootstrap_does() -> None:
    values, clusters = rows(14, 20, 0.5), list(np.repeat(names("c", 10), 2))
    reference = cluster_bootstrap(
        lambda index: paired_d(values[index]), clusters, n_boot=300, seed=1, unit="SD"
    )
    estimate = standardized_paired(values, clusters, corrected=False, n_boot=300, seed=1)
    assert estimate.value == pytest.approx(paired_d(values))
    assert ends(estimate) == pytest.approx(ends(reference))
    corrected = standardized_paired(values, clusters, corrected=True, n_boot=300, seed=1)
    # Hedges' approximation 1 - 3 / (4 df - 1) is good to four digits at 19 degrees of freedom.
    assert corrected.value / estimate.value == pytest.approx(1 - 3 / (4 * 19 - 1), abs=1e-4)


@pytest.mark.parametrize("corrected", [False, True])
def test_shared_clusters_resample_as_the_cluster_bootstrap_does(corrected: bool) -> None:
    one, two, pairs = rows(15, 12, 1.0), rows(16, 12), names("c", 12)
    both = np.concatenate([one, two])
    size = hedges_g if corrected else cohens_d

    def statistic(index: np.ndarray) -> float:
        return size(both[index[index < 12]], both[index[index >= 12]])

    reference = cluster_bootstrap(statistic, pairs + pairs, n_boot=300, seed=2, unit="SD")
    estimate = standardized_difference(
        one,
        two,
        positive_clusters=pairs,
        negative_clusters=pairs,
        corrected=corrected,
        n_boot=300,
        seed=2,
    )
    assert estimate.value == pytest.approx(size(one, two))
    assert ends(estimate) == pytest.approx(ends(reference))
    assert (estimate.n, estimate.n_clusters, estimate.unit) == (24, 12, "SD")


def test_large_normal_samples_approach_the_exact_interval() -> None:
    one, two = rows(17, 400, 0.5), rows(18, 300)
    estimate = standardized_difference(one, two, corrected=False, n_boot=4000, seed=0)
    exact = noncentral_interval(estimate.value, 400, 300, 0.95)
    assert ends(estimate) == pytest.approx(exact, abs=0.02)


def test_noncentral_interval_puts_t_at_its_quantiles() -> None:
    for d, m, n in ((0.8, 10, 14), (-2.0, 5, 5), (0.0, 20, 3), (6.0, 40, 40)):
        root = np.sqrt(m * n / (m + n))
        low, high = noncentral_interval(d, m, n, 0.9)
        assert stats.nct.sf(d * root, m + n - 2, low * root) == pytest.approx(0.05, abs=1e-6)
        assert stats.nct.cdf(d * root, m + n - 2, high * root) == pytest.approx(0.05, abs=1e-6)
    low, high = noncentral_interval(0.0, 12, 12, 0.95)
    assert low == pytest.approx(-high)


def test_no_side_runs_empty_and_resamples_without_variance_are_counted() -> None:
    estimate = standardized_difference(
        np.array([1.0, 1.5]), np.array([0.0, 0.2, 0.4]), corrected=False, n_boot=500, seed=0
    )
    assert "without variance counted as extreme" in estimate.method
    assert estimate.low < estimate.value < estimate.high
    paired = standardized_paired(
        np.array([1.0, 1.1, 1.2]), names("c", 3), corrected=True, n_boot=500, seed=0
    )
    assert "without variance counted as extreme" in paired.method
    assert np.isfinite(paired.high)


def test_a_sample_without_variance_has_no_standardized_difference() -> None:
    with pytest.raises(BadInputError, match="needs variance within the groups"):
        standardized_difference(np.ones(3), np.zeros(3), corrected=True, n_boot=100, seed=0)
    with pytest.raises(BadInputError, match="needs variance within the groups"):
        standardized_paired(np.ones(3), names("c", 3), corrected=False, n_boot=100, seed=0)
    with pytest.raises(BadInputError, match="needs at least 3 rows"):
        standardized_paired(rows(0, 2), names("c", 2), corrected=True, n_boot=100, seed=0)
    with pytest.raises(BadInputError, match="n_boot must be at least 100"):
        standardized_paired(rows(0, 5), names("c", 5), corrected=False, n_boot=10, seed=0)
