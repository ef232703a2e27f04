"""AUROC and its intervals: scikit-learn, brute force, and coverage where the plain forms fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import special, stats
from sklearn.metrics import roc_auc_score

from trait_probe.errors import BadInputError
from trait_probe.evidence.auc import (
    auroc,
    auroc_columns,
    auroc_difference,
    auroc_interval,
    out_of_fold_inflation,
)
from trait_probe.evidence.estimate import Estimate, Unscored


def groups(
    seed: int, m: int = 25, n: int = 35, shift: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1.0, m).round(1), rng.normal(0.0, 1.0, n).round(1)


def wins(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    gap = positive[:, None] - negative[None, :]
    return (gap > 0) + 0.5 * (gap == 0)


def delong_variance(positive: np.ndarray, negative: np.ndarray) -> float:
    table = wins(positive, negative)
    return table.mean(1).var(ddof=1) / len(positive) + table.mean(0).var(ddof=1) / len(negative)


def names(prefix: str, n: int) -> list[str]:
    return [f"{prefix}{i}" for i in range(n)]


def test_auroc_equals_sklearn_with_ties() -> None:
    positive, negative = groups(0)
    labels = np.repeat([1, 0], [25, 35])
    expected = roc_auc_score(labels, np.concatenate([positive, negative]))
    assert auroc(positive, negative) == pytest.approx(expected, abs=1e-12)


def test_columns_equal_one_at_a_time() -> None:
    positive = np.stack([groups(seed)[0] for seed in range(5)], axis=1)
    negative = np.stack([groups(seed)[1] for seed in range(5)], axis=1)
    expected = [auroc(positive[:, k], negative[:, k]) for k in range(5)]
    assert auroc_columns(positive, negative) == pytest.approx(expected, abs=1e-12)


def test_interval_is_brute_force_delong_on_the_logit_scale() -> None:
    positive, negative = groups(1)
    value = wins(positive, negative).mean()
    half = 1.959963985 * np.sqrt(delong_variance(positive, negative)) / (value * (1 - value))
    estimate = auroc_interval(positive, negative)
    assert estimate.value == pytest.approx(value)
    assert estimate.low == pytest.approx(special.expit(special.logit(value) - half))
    assert estimate.high == pytest.approx(special.expit(special.logit(value) + half))
    assert (estimate.n, estimate.n_clusters, estimate.unit) == (60, 60, "AUROC")


def obuchowski_variance(positive: np.ndarray, negative: np.ndarray) -> float:
    """Obuchowski (1997), written out: clusters are rows of (cluster, repeat) tables."""
    m, n, k = positive.size, negative.size, len(positive)
    table = wins(positive.ravel(), negative.ravel())
    theta = table.mean()
    v10 = table.mean(1).reshape(positive.shape).sum(1) - positive.shape[1] * theta
    v01 = table.mean(0).reshape(negative.shape).sum(1) - negative.shape[1] * theta
    s10 = k / ((k - 1) * m) * (v10**2).sum()
    s01 = k / ((k - 1) * n) * (v01**2).sum()
    s11 = k / (k - 1) * (v10 * v01).sum()
    return s10 / m + s01 / n + 2 * s11 / (m * n)


def test_clustered_interval_is_obuchowskis_where_each_cluster_has_both_classes() -> None:
    rng = np.random.default_rng(4)
    offset = rng.normal(size=(12, 1))
    positive, negative = offset + rng.normal(0.8, 1, (12, 3)), offset + rng.normal(0, 1, (12, 5))
    estimate = auroc_interval(
        positive.ravel(),
        negative.ravel(),
        positive_clusters=list(np.repeat(names("c", 12), 3)),
        negative_clusters=list(np.repeat(names("c", 12), 5)),
    )
    spread = np.sqrt(obuchowski_variance(positive, negative))
    half = stats.t.ppf(0.975, 11) * spread / (estimate.value * (1 - estimate.value))
    assert estimate.high == pytest.approx(special.expit(special.logit(estimate.value) + half))
    assert estimate.n_clusters == 12


def test_tokens_of_one_prompt_do_not_count_as_evidence() -> None:
    """Each row repeated ten times: the clustered interval stays, the naive one shrinks."""
    positive, negative = groups(2)
    repeated = [np.repeat(side, 10) for side in (positive, negative)]
    clusters = [
        list(np.repeat(names(p, len(s)), 10)) for p, s in (("p", positive), ("n", negative))
    ]
    once = auroc_interval(
        positive, negative, positive_clusters=names("p", 25), negative_clusters=names("n", 35)
    )
    clustered = auroc_interval(
        *repeated, positive_clusters=clusters[0], negative_clusters=clusters[1]
    )
    assert (clustered.low, clustered.high) == pytest.approx((once.low, once.high))
    assert auroc_interval(*repeated).width < 0.5 * clustered.width


@pytest.mark.parametrize("swap", [False, True])
def test_perfect_separation_is_not_certainty(swap: bool) -> None:
    positive, negative = np.arange(5.0) + 10, np.arange(6.0)
    if swap:
        positive, negative = -positive, -negative
    estimate = auroc_interval(positive, negative)
    far_end = estimate.high if swap else 1 - estimate.low
    assert estimate.value == (0.0 if swap else 1.0)
    assert 0.2 < far_end < 0.6
    assert estimate.method.startswith("newcombe score")


def test_score_interval_ends_solve_newcombes_equation() -> None:
    estimate = auroc_interval(np.full(9, 2.0), np.full(7, 2.0))
    assert estimate.value == 0.5
    for theta in (estimate.low, estimate.high):
        spread = (1 - theta) / (2 - theta) + theta / (1 + theta)
        variance = theta * (1 - theta) * (1 + 7 * spread) / 63
        assert abs(theta - 0.5) == pytest.approx(1.959963985 * np.sqrt(variance), rel=1e-6)


@pytest.mark.parametrize("shift", [0.0, 1.8])
def test_interval_covers_the_truth_with_ten_rows_a_side(shift: float) -> None:
    truth = stats.norm.cdf(shift / np.sqrt(2))
    rng = np.random.default_rng(7)
    covered, plain = 0, 0
    for _ in range(400):
        positive, negative = rng.normal(shift, 1, 10), rng.normal(0, 1, 10)
        estimate = auroc_interval(positive, negative)
        covered += not estimate.excludes(float(truth))
        half = 1.96 * np.sqrt(delong_variance(positive, negative))
        plain += abs(estimate.value - truth) <= half
    assert covered >= 0.93 * 400
    assert shift == 0.0 or plain < 0.88 * 400  # meta: the usual DeLong interval does not


def test_difference_equals_the_paired_delong_test_by_brute_force() -> None:
    rng = np.random.default_rng(3)
    positive, negative = rng.normal(1, 1, 40), rng.normal(0, 1, 30)
    other = positive + rng.normal(0, 1, 40), negative + rng.normal(0, 1, 30)
    one, two = wins(positive, negative), wins(*other)
    gap = one - two
    spread = np.sqrt(gap.mean(1).var(ddof=1) / 40 + gap.mean(0).var(ddof=1) / 30)
    estimate = auroc_difference((positive, negative), other)
    assert isinstance(estimate, Estimate)
    assert estimate.value == pytest.approx(gap.mean())
    assert estimate.low == pytest.approx(gap.mean() - 1.959963985 * spread)


def test_difference_is_antisymmetric_and_pairing_narrows_it() -> None:
    rng = np.random.default_rng(6)
    one = rng.normal(1, 1, 60), rng.normal(0, 1, 60)
    two = tuple(side + rng.normal(0, 0.3, 60) for side in one)
    forth, back = auroc_difference(one, two), auroc_difference(two, one)
    assert isinstance(forth, Estimate)
    assert isinstance(back, Estimate)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    assert forth.width < auroc_interval(*one).width


def test_difference_of_equal_rankings_is_unscored() -> None:
    positive, negative = groups(0)
    result = auroc_difference((positive, negative), (positive * 3, negative * 3))
    assert isinstance(result, Unscored)


Side = tuple[np.ndarray, np.ndarray]
PERFECT: Side = (np.arange(9.0) + 20, np.arange(7.0))
CONSTANT: Side = (np.full(9, 2.0), np.full(7, 2.0))


def joined_by_hand(first: Side, second: Side, **options: Any) -> tuple[float, float, float]:
    """Newcombe (1998), method 10: distances to the ends of the two intervals, squares added."""
    one, two = auroc_interval(*first, **options), auroc_interval(*second, **options)
    assert one.method.startswith("newcombe score")
    assert two.method.startswith("newcombe score")
    value = one.value - two.value
    down = ((one.value - one.low) ** 2 + (two.high - two.value) ** 2) ** 0.5
    up = ((one.high - one.value) ** 2 + (two.value - two.low) ** 2) ** 0.5
    return value, value - down, value + up


@pytest.mark.parametrize("level", [0.95, 0.99])
@pytest.mark.parametrize("clustered", [False, True])
def test_a_difference_without_variance_joins_the_two_score_intervals(
    level: float, clustered: bool
) -> None:
    """Perfect separation against a constant: DeLong's interval would be one point."""
    options: dict[str, Any] = {"level": level}
    if clustered:  # clusters are the sample sizes: 3 and 4 of them
        options["positive_clusters"] = list(np.repeat(names("p", 3), 3))
        options["negative_clusters"] = [f"n{i // 2}" for i in range(7)]
    found = auroc_difference(PERFECT, CONSTANT, **options)
    assert isinstance(found, Estimate)
    value, low, high = joined_by_hand(PERFECT, CONSTANT, **options)
    assert (found.value, found.low) == (0.5, pytest.approx(low))
    assert (value, found.high) == (0.5, pytest.approx(high))
    assert -0.3 < found.low < 0.4 < 0.6 < found.high < 1.0
    assert "newcombe score intervals joined" in found.method
    assert (found.n, found.n_clusters, found.level) == (16, 7 if clustered else 16, level)
    back = auroc_difference(CONSTANT, PERFECT, **options)
    assert isinstance(back, Estimate)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_joined_intervals_stay_between_minus_one_and_one() -> None:
    turned = (PERFECT[1][:1].repeat(9), PERFECT[0][:7])
    found = auroc_difference(PERFECT, turned)
    assert isinstance(found, Estimate)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(joined_by_hand(PERFECT, turned)[1])


def test_a_joined_interval_is_wider_for_fewer_rows() -> None:
    few = tuple(side[:4] for side in PERFECT), tuple(side[:4] for side in CONSTANT)
    found, wide = auroc_difference(PERFECT, CONSTANT), auroc_difference(*few)
    assert isinstance(found, Estimate)
    assert isinstance(wide, Estimate)
    assert wide.width > 1.2 * found.width


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((np.zeros(1), np.zeros(5)), "positive scores needs at least 2 rows"),
        ((np.zeros(3), np.array([0.0, np.nan])), r"negative scores must be finite[\s\S]*1 of 2"),
    ],
)
def test_what_cannot_be_ranked_is_refused(arguments: tuple[np.ndarray, ...], sentence: str) -> None:
    with pytest.raises(BadInputError, match=sentence):
        auroc_interval(*arguments)


def test_clusters_are_for_both_classes_and_at_least_two_each() -> None:
    positive, negative = groups(0)
    with pytest.raises(BadInputError, match="both classes or for neither"):
        auroc_interval(positive, negative, positive_clusters=names("p", 25))
    with pytest.raises(BadInputError, match="at least two clusters in each class"):
        auroc_interval(
            positive, negative, positive_clusters=["one"] * 25, negative_clusters=names("n", 35)
        )
    with pytest.raises(BadInputError, match="25 rows"):
        auroc_interval(
            positive, negative, positive_clusters=["p"], negative_clusters=names("n", 35)
        )


def test_out_of_fold_inflation_is_nadeau_bengios_and_widens_on_the_logit_scale() -> None:
    assert out_of_fold_inflation(5) == pytest.approx(1 + 5 * 0.2 / 0.8)
    positive, negative = groups(1)
    plain = auroc_interval(positive, negative)
    wide = auroc_interval(positive, negative, variance_inflation=out_of_fold_inflation(5))
    centre = special.logit(plain.value)
    assert special.logit(wide.high) - centre == pytest.approx(
        1.5 * (special.logit(plain.high) - centre)
    )
    assert wide.method == "delong (logit), variance x 2.25 (nadeau-bengio)"
    with pytest.raises(BadInputError, match="variance_inflation must be 1 or more"):
        auroc_interval(positive, negative, variance_inflation=0.5)
    with pytest.raises(BadInputError, match="folds must be at least 2"):
        out_of_fold_inflation(1)
