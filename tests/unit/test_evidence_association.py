"""Rank correlation: scipy, brute-force resampling and enumeration."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.association import spearman, spearman_p
from trait_probe.evidence.bootstrap import cluster_bootstrap
from trait_probe.evidence.estimate import Unscored


def names(n: int) -> list[str]:
    return [f"c{i}" for i in range(n)]


def tied_pairs(seed: int, n: int, slope: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return x.round(1), (slope * x + rng.normal(size=n)).round(1)


def test_value_equals_scipy_and_the_interval_the_cluster_bootstrap() -> None:
    x, y = tied_pairs(0, 30)
    clusters = list(np.repeat(names(10), 3))
    reference = cluster_bootstrap(
        lambda index: float(stats.spearmanr(x[index], y[index]).statistic),
        clusters,
        n_boot=200,
        seed=1,
        unit="rank correlation",
    )
    estimate = spearman(x, y, clusters, n_boot=200, seed=1)
    assert estimate.value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert (estimate.low, estimate.high) == pytest.approx((reference.low, reference.high))
    assert (estimate.n, estimate.n_clusters) == (30, 10)


def test_chunks_of_resamples_do_not_change_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = tied_pairs(1, 20)
    whole = spearman(x, y, names(20), n_boot=150, seed=0)
    monkeypatch.setattr("trait_probe.evidence._draws._ENTRIES", 700)
    assert spearman(x, y, names(20), n_boot=150, seed=0) == whole


def test_any_monotone_change_of_scale_changes_nothing() -> None:
    x, y = tied_pairs(2, 25)
    assert spearman(np.exp(x), y**3, names(25), n_boot=100, seed=0) == spearman(
        x, y, names(25), n_boot=100, seed=0
    )


def test_resamples_with_a_constant_side_are_counted_or_leave_it_unscored() -> None:
    x, y = np.arange(6.0), np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    estimate = spearman(x, y, names(6), n_boot=400, seed=0)
    assert "constant ones left out" in estimate.method
    lonely = spearman(x, np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.0]), names(6), n_boot=400, seed=0)
    assert isinstance(lonely, Unscored)
    assert isinstance(spearman(x, np.zeros(6), names(6), n_boot=100, seed=0), Unscored)
    assert isinstance(spearman_p(x, np.zeros(6), names(6), n=99, seed=0), Unscored)


@pytest.mark.parametrize("side", ["greater", "less", "two-sided"])
def test_all_permutations_equal_scipys(side: str) -> None:
    x, y = tied_pairs(3, 6)
    reference = stats.permutation_test(
        (x,),
        lambda moved: stats.spearmanr(moved, y).statistic,
        permutation_type="pairings",
        n_resamples=np.inf,
        alternative=side,
        vectorized=False,
    )
    result = spearman_p(x, y, names(6), n=720, seed=0, alternative=side)
    assert (result.n, result.exact) == (720, True)
    assert result.statistic == pytest.approx(reference.statistic)
    if side == "two-sided":  # scipy doubles the smaller tail
        rho = [abs(stats.spearmanr(order, y).statistic) for order in permutations(x)]
        assert result.p == pytest.approx(np.mean(np.array(rho) >= abs(result.statistic) - 1e-9))
    else:
        assert result.p == pytest.approx(reference.pvalue)


def test_sampled_p_approaches_scipys_in_large_samples() -> None:
    x, y = tied_pairs(4, 80, slope=0.2)
    result = spearman_p(x, y, names(80), n=8000, seed=0)
    assert not result.exact
    assert result.p == pytest.approx(stats.spearmanr(x, y).pvalue, abs=0.02)


def test_clusters_of_equal_size_move_whole() -> None:
    x, y = tied_pairs(5, 10)
    clusters = list("aabbccddee")
    blocks = y.reshape(5, 2)
    rho = [
        stats.spearmanr(x, blocks[list(order)].ravel()).statistic
        for order in permutations(range(5))
    ]
    result = spearman_p(x, y, clusters, n=120, seed=0, alternative="greater")
    assert result.p == pytest.approx(np.mean(np.array(rho) >= result.statistic - 1e-9))


def test_false_positive_rate_in_clustered_rows() -> None:
    rng = np.random.default_rng(6)
    clusters = list(np.repeat(names(12), 4))
    fired, plain = 0, 0
    for seed in range(300):
        x, y = (np.repeat(rng.normal(size=12), 4) + 0.3 * rng.normal(size=48) for _ in range(2))
        fired += spearman_p(x, y, clusters, n=99, seed=seed).p <= 0.05
        plain += spearman_p(x, y, names(48), n=99, seed=seed).p <= 0.05
    assert stats.binom.ppf(0.001, 300, 0.05) <= fired <= stats.binom.ppf(0.999, 300, 0.05)
    assert plain > 2 * fired


def test_what_does_not_fit_is_refused() -> None:
    x, y = tied_pairs(7, 6)
    with pytest.raises(BadInputError, match=r"equal size[\s\S]*1 to 3 rows"):
        spearman_p(x, y, list("aaabbc"), n=99, seed=0)
    with pytest.raises(MismatchError, match="5 entries for 6 rows"):
        spearman(x, y[:5], names(6), n_boot=100, seed=0)
    with pytest.raises(BadInputError, match="two clusters"):
        spearman(x, y, ["a"] * 6, n_boot=100, seed=0)
