"""Detectors: scikit-learn's ROC curve, brute-force resampling, binomial intervals, coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_curve

from trait_probe.errors import BadInputError
from trait_probe.evidence.bootstrap import cluster_bootstrap
from trait_probe.evidence.detection import false_positive_rate, rates, tpr_at_fpr_interval
from trait_probe.evidence.effects import tpr_at_fpr
from trait_probe.evidence.estimate import Unscored, strict_json


def names(prefix: str, n: int) -> list[str]:
    return [f"{prefix}{i}" for i in range(n)]


def sides(seed: int, m: int = 40, n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(1.5, 1.0, m).round(1), rng.normal(0.0, 1.0, n).round(1)


def from_curve(positive: np.ndarray, negative: np.ndarray, fpr: float) -> float:
    """Highest true positive rate among scikit-learn's thresholds that keep to the rate."""
    labels = np.repeat([1, 0], [len(positive), len(negative)])
    flagged, caught, _ = roc_curve(
        labels, np.concatenate([positive, negative]), drop_intermediate=False
    )
    return float(caught[flagged <= fpr + 1e-12].max())


def test_values_equal_sklearns_roc_curve() -> None:
    for seed in range(5):
        positive, negative = sides(seed)
        found = rates(positive, negative, (0.01, 0.05, 0.2))
        assert list(found) == ["0.01", "0.05", "0.2"]
        for name, value in found.items():
            assert value == pytest.approx(from_curve(positive, negative, float(name)))
            estimate = tpr_at_fpr_interval(positive, negative, float(name), n_boot=100, seed=0)
            assert estimate.value == pytest.approx(value)


def test_too_few_negatives_are_unscored_not_zero() -> None:
    positive, negative = sides(0, n=60)
    found = rates(positive, negative)
    assert isinstance(found["0.01"], Unscored)
    assert isinstance(found["0.05"], float)
    assert strict_json(found)["0.01"] == {
        "unscored": "60 negatives, 100 needed for a false positive rate of 0.01"
    }
    assert isinstance(tpr_at_fpr_interval(positive, negative, 0.01, n_boot=100, seed=0), Unscored)


def test_interval_resamples_both_sides_of_a_cluster_together() -> None:
    positive, negative = sides(1, 60, 60)
    both, pairs = np.concatenate([positive, negative]), names("c", 60)

    def statistic(index: np.ndarray) -> float:
        return tpr_at_fpr(both[index[index < 60]], both[index[index >= 60]], 0.1)

    reference = cluster_bootstrap(statistic, pairs + pairs, n_boot=300, seed=4, unit="share")
    estimate = tpr_at_fpr_interval(
        positive,
        negative,
        0.1,
        positive_clusters=pairs,
        negative_clusters=pairs,
        n_boot=300,
        seed=4,
    )
    assert (estimate.low, estimate.high) == pytest.approx((reference.low, reference.high))
    assert (estimate.n, estimate.n_clusters) == (120, 60)


def test_the_refitted_threshold_widens_the_interval() -> None:
    positive, negative = sides(2)
    estimate = tpr_at_fpr_interval(positive, negative, 0.05, n_boot=1000, seed=0)
    hits = round(estimate.value * 40)
    fixed = stats.binomtest(hits, 40).proportion_ci(0.95, "wilson")
    assert estimate.width > fixed.high - fixed.low
    assert "threshold refitted" in estimate.method


def test_all_or_none_caught_is_clopper_pearson_over_clusters() -> None:
    negative = sides(3)[1]
    for offset, hits in ((99.0, 12), (-99.0, 0)):
        positive = np.repeat(np.arange(12.0), 2) + offset
        estimate = tpr_at_fpr_interval(
            positive,
            negative,
            0.05,
            positive_clusters=list(np.repeat(names("p", 12), 2)),
            negative_clusters=names("n", 120),
            n_boot=200,
            seed=0,
        )
        exact = stats.binomtest(hits, 12).proportion_ci(0.95, "exact")
        assert (estimate.low, estimate.high) == pytest.approx((exact.low, exact.high))
        assert "clopper-pearson" in estimate.method


def test_copies_of_rows_do_not_narrow_the_interval() -> None:
    positive, negative = sides(4)
    once = tpr_at_fpr_interval(positive, negative, 0.1, n_boot=300, seed=0)
    copied = tpr_at_fpr_interval(
        np.repeat(positive, 4),
        np.repeat(negative, 4),
        0.1,
        positive_clusters=list(np.repeat(names("p", 40), 4)),
        negative_clusters=list(np.repeat(names("n", 120), 4)),
        n_boot=300,
        seed=0,
    )
    assert copied.width == pytest.approx(once.width, rel=0.15)


# --- false positive rate --------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [-99.0, 0.0, 1.0, 99.0])
def test_singletons_are_clopper_pearson(threshold: float) -> None:
    benign = sides(5)[1]
    exact = stats.binomtest(int((benign > threshold).sum()), 120).proportion_ci(0.9, "exact")
    estimate = false_positive_rate(threshold, benign, names("c", 120), level=0.9)
    assert (estimate.low, estimate.high) == pytest.approx((exact.low, exact.high))
    assert estimate.value == pytest.approx((benign > threshold).mean())


def test_copies_count_as_their_clusters() -> None:
    """Closed form for identical rows in a cluster: 59 effective rows, less for Student t."""
    benign = sides(6)[1][:60]
    clusters = list(np.repeat(names("c", 60), 5))
    copied = false_positive_rate(0.5, np.repeat(benign, 5), clusters)
    once = false_positive_rate(0.5, benign, names("c", 60))
    assert once.width < copied.width < 1.1 * once.width
    n = 59 * (stats.t.ppf(0.975, 299) / stats.t.ppf(0.975, 59)) ** 2
    hits = once.value * n
    assert copied.low == pytest.approx(stats.beta.ppf(0.025, hits, n - hits + 1))
    assert copied.high == pytest.approx(stats.beta.ppf(0.975, hits + 1, n - hits))
    none = false_positive_rate(99.0, np.repeat(benign, 5), clusters)
    assert none.high == pytest.approx(stats.binomtest(0, 60).proportion_ci(0.95, "exact").high)


def test_clustered_interval_covers_the_rate() -> None:
    rng = np.random.default_rng(7)
    clusters = list(np.repeat(names("c", 20), 6))
    truth = float(stats.norm.sf(1.0))
    covered, plain = 0, 0
    for _ in range(400):
        benign = np.repeat(rng.normal(size=20), 6) * np.sqrt(0.8)
        benign = benign + rng.normal(size=120) * np.sqrt(0.2)
        covered += not false_positive_rate(1.0, benign, clusters).excludes(truth)
        plain += not false_positive_rate(1.0, benign, names("r", 120)).excludes(truth)
    assert covered >= stats.binom.ppf(0.001, 400, 0.95)
    assert plain < 0.9 * 400


def test_what_does_not_fit_is_refused() -> None:
    positive, negative = sides(8)
    with pytest.raises(BadInputError, match="fpr must lie strictly between"):
        rates(positive, negative, (0.0,))
    with pytest.raises(BadInputError, match="both classes or for neither"):
        tpr_at_fpr_interval(
            positive, negative, 0.1, positive_clusters=names("p", 40), n_boot=100, seed=0
        )
    with pytest.raises(BadInputError, match="threshold must be finite"):
        false_positive_rate(float("nan"), negative, names("c", 120))
    with pytest.raises(BadInputError, match="number of clusters must be at least 2"):
        false_positive_rate(0.0, negative, ["a"] * 120)
