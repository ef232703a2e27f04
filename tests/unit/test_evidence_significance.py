"""Tests of one number: against scipy, by enumeration, and their false positive rates."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats
from study_builders import without_type_checks

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.association import spearman_p
from trait_probe.evidence.auc import auroc
from trait_probe.evidence.estimate import Unscored, strict_json
from trait_probe.evidence.significance import (
    Significance,
    paired_t,
    permutation,
    relabelings,
    sign_flip,
)
from trait_probe.evidence.simultaneous import simultaneous_aurocs, simultaneous_means

SIDES = ("greater", "less", "two-sided")


def names(n: int) -> list[str]:
    return [f"c{i}" for i in range(n)]


def rows(seed: int, n: int, mean: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1.0, n)


# --- t --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", SIDES)
def test_t_of_singleton_clusters_equals_scipy(side: str) -> None:
    values = rows(0, 15, 0.4)
    reference = stats.ttest_1samp(values, 0.0, alternative=side)
    result = paired_t(values, names(15), alternative=side)
    assert result.statistic == pytest.approx(reference.statistic)
    assert result.p == pytest.approx(reference.pvalue)
    assert (result.n, result.exact, result.alternative) == (15, False, side)


def test_t_of_copied_rows_is_the_t_of_the_clusters() -> None:
    values = rows(1, 9, 0.4)
    copied = paired_t(np.repeat(values, 7), list(np.repeat(names(9), 7)))
    assert copied.p == pytest.approx(stats.ttest_1samp(values, 0.0, alternative="greater").pvalue)


def test_t_without_variance() -> None:
    assert paired_t(np.zeros(4), names(4)).p == 1.0
    assert paired_t(np.array([1.0, -1.0, 1.0, -1.0]), list("aabb")).p == 1.0
    assert isinstance(paired_t(np.full(4, 0.1), names(4)), Unscored)


def test_an_underflowing_p_value_is_not_zero() -> None:
    assert 0.0 < paired_t(1e6 + rows(2, 400), names(400)).p < 1e-300


# --- sign flips -----------------------------------------------------------------------------------


@pytest.mark.parametrize("side", SIDES)
def test_all_sign_flips_equal_scipy(side: str) -> None:
    values = rows(3, 9, 0.5)
    reference = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative=side
    )
    result = sign_flip(values, names(9), n=512, seed=0, alternative=side)
    assert (result.n, result.exact) == (512, True)
    assert result.statistic == pytest.approx(values.mean())
    assert result.p == pytest.approx(reference.pvalue)


def test_clusters_flip_whole() -> None:
    values, clusters = rows(4, 9), list("abacbdcdd")
    flips = [
        np.mean(values * np.array([signs["abcd".index(name)] for name in clusters]))
        for signs in product((1, -1), repeat=4)
    ]
    result = sign_flip(values, clusters, n=1000, seed=0)
    assert result.n == 16
    assert result.p == pytest.approx(np.mean(np.array(flips) >= values.mean() - 1e-12))


def test_sampled_flips_approach_the_exact_p_and_are_never_zero() -> None:
    values = rows(5, 12, 0.3)
    exact = sign_flip(values, names(12), n=4096, seed=0)
    sampled = sign_flip(values, names(12), n=4000, seed=0)
    assert exact.exact
    assert not sampled.exact
    assert sampled.p == pytest.approx(exact.p, abs=0.03)
    assert sign_flip(rows(6, 40, 9.0), names(40), n=99, seed=0).p == 0.01
    assert sign_flip(np.zeros(40), names(40), n=99, seed=0).p == 1.0


# --- relabelings ----------------------------------------------------------------------------------


def distinct(draws: np.ndarray) -> set[tuple[bool, ...]]:
    return {tuple(map(bool, draw)) for draw in draws}


def test_singleton_clusters_are_all_permutations() -> None:
    labels = np.array([True, True, False, False, False])
    every = {tuple(map(bool, order)) for order in permutations(labels)}
    draws = relabelings(labels, names(5), n=2000, seed=0)
    assert distinct(draws) == every
    counts = np.unique(draws, axis=0, return_counts=True)[1]
    assert stats.chisquare(counts).pvalue > 0.001


def test_clusters_with_one_label_move_whole() -> None:
    labels, clusters = np.array([1, 1, 0, 0, 0, 1], dtype=bool), list("aabbca")
    draws = relabelings(labels, clusters, n=300, seed=0)
    expected = {tuple(name == chosen for name in clusters) for chosen in "abc"}
    assert distinct(draws) == expected


def test_mixed_clusters_permute_inside_and_leave_the_others_alone() -> None:
    labels = np.array([1, 0, 0, 1, 0, 1, 1], dtype=bool)
    clusters = list("aaabbcc")
    draws = relabelings(labels, clusters, n=500, seed=0)
    assert (draws[:, :3].sum(1) == 1).all()
    assert (draws[:, 3:5].sum(1) == 1).all()
    assert draws[:, 5:].all()
    assert len(distinct(draws)) == 3 * 2


def test_relabelings_are_seeded_and_need_two_labels() -> None:
    labels = np.array([True, False] * 4)
    first = relabelings(labels, names(8), n=20, seed=3)
    assert np.array_equal(first, relabelings(labels, names(8), n=20, seed=3))
    assert not np.array_equal(first, relabelings(labels, names(8), n=20, seed=4))
    with pytest.raises(BadInputError, match="rows of both labels"):
        relabelings(np.ones(4, dtype=bool), names(4), n=10, seed=0)
    with pytest.raises(MismatchError, match="3 entries for 4 rows"):
        relabelings(labels[:4], names(3), n=10, seed=0)


# --- permutation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("side", SIDES)
def test_permuted_auroc_approaches_the_exact_mann_whitney(side: str) -> None:
    scores = np.concatenate([rows(7, 8, 0.6), rows(8, 10)])
    labels = np.arange(18) < 8
    result = permutation(
        scores, labels, names(18), statistic="auroc", n=20000, seed=0, alternative=side
    )
    exact = stats.mannwhitneyu(scores[:8], scores[8:], alternative=side, method="exact")
    assert result.statistic == pytest.approx(auroc(scores[:8], scores[8:]))
    assert result.p == pytest.approx(exact.pvalue, abs=0.012)


def test_permuted_mean_difference_approaches_scipys_enumeration() -> None:
    scores = np.concatenate([rows(9, 5, 0.9), rows(10, 6)])
    reference = stats.permutation_test(
        (scores[:5], scores[5:]),
        lambda a, b: a.mean() - b.mean(),
        n_resamples=np.inf,
        alternative="greater",
    )
    result = permutation(
        scores, np.arange(11) < 5, names(11), statistic="mean difference", n=20000, seed=0
    )
    assert result.statistic == pytest.approx(reference.statistic)
    assert result.p == pytest.approx(reference.pvalue, abs=0.012)


def test_pairs_in_clusters_are_tested_as_pairs() -> None:
    """Exchanging two labels within each pair flips the sign of its difference."""
    shared = rows(11, 10) * 5
    gaps = rows(12, 10, 0.8)
    scores = np.concatenate([shared + gaps, shared])
    result = permutation(
        scores,
        np.arange(20) < 10,
        names(10) + names(10),
        statistic="mean difference",
        n=20000,
        seed=0,
    )
    assert result.p == pytest.approx(sign_flip(gaps, names(10), n=1024, seed=0).p, abs=0.01)


@pytest.mark.parametrize("statistic", ["auroc", "mean difference"])
def test_false_positive_rate_in_clustered_rows(statistic: str) -> None:
    rng = np.random.default_rng(13)
    labels, clusters = np.repeat(np.arange(12) < 6, 5), list(np.repeat(names(12), 5))
    fired, plain = 0, 0
    for seed in range(300):
        scores = np.repeat(rng.normal(size=12), 5) + 0.5 * rng.normal(size=60)
        test = {"statistic": statistic, "n": 99, "seed": seed}
        fired += permutation(scores, labels, clusters, **test).p <= 0.05
        plain += permutation(scores, labels, names(60), **test).p <= 0.05
    assert stats.binom.ppf(0.001, 300, 0.05) <= fired <= stats.binom.ppf(0.999, 300, 0.05)
    assert plain > 2 * fired


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(MismatchError, match="3 entries for 4 rows"):
        permutation(
            np.zeros(4), np.array([True, False, True]), names(4), statistic="auroc", n=9, seed=0
        )
    for field in ({"p": 0.0}, {"p": 1.5}, {"n": 0}, {"statistic": float("nan")}):
        with pytest.raises(BadInputError):
            Significance(
                **{"statistic": 1.0, "p": 0.5, "n": 3, "exact": True, "method": "t"} | field
            )


def test_json_is_strict() -> None:
    plain = strict_json(sign_flip(rows(0, 4), names(4), n=99, seed=0))
    assert plain["exact"] is True
    assert set(plain) == {"statistic", "p", "n", "exact", "method", "alternative"}


def test_a_misspelt_alternative_is_no_other_one() -> None:
    rows, names = np.arange(8.0), [str(i) for i in range(8)]
    labels = np.arange(8) % 2 == 0
    calls = (
        lambda side: paired_t(rows, names, alternative=side),
        lambda side: sign_flip(rows, names, n=50, seed=0, alternative=side),
        lambda side: spearman_p(rows, rows, names, n=50, seed=0, alternative=side),
        lambda side: simultaneous_means(rows[:, None], names, n=50, seed=0, alternative=side),
        lambda side: simultaneous_aurocs(
            rows[:, None], labels, names, n=50, seed=0, alternative=side
        ),
    )
    for call in calls:
        with without_type_checks(), pytest.raises(BadInputError, match="no such alternative"):
            call("grater")
