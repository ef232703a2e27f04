"""Trends over ordered levels: brute force over pairs, enumeration, and rates on noise."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats
from study_builders import without_type_checks

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.auc import auroc, auroc_interval
from trait_probe.evidence.bootstrap import cluster_bootstrap
from trait_probe.evidence.checks import interval_check, null_value
from trait_probe.evidence.estimate import Estimate, Unscored, strict_json
from trait_probe.evidence.means import clustered_mean
from trait_probe.evidence.ordinal import UNIT, Trend, ordinal_trend
from trait_probe.evidence.significance import permutation


def names(n: int) -> list[str]:
    return [f"c{i:02d}" for i in range(n)]


def brute(scores: np.ndarray, levels: np.ndarray) -> float:
    """Every pair of rows, one by one."""
    won = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for low, at in zip(scores, levels, strict=True)
        for high, above in zip(scores, levels, strict=True)
        if at < above
    ]
    return float(np.mean(won))


def levelled(
    seed: int, n: int = 40, n_levels: int = 4, slope: float = 0.4
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    levels = rng.integers(n_levels, size=n)
    return (slope * levels + rng.normal(size=n)).round(1), levels


def trend(scores: np.ndarray, levels: np.ndarray, clusters: list[str], **options: object) -> Trend:
    found = scored(scores, levels, clusters, **options)
    assert isinstance(found, Trend), found
    return found


def scored(
    scores: np.ndarray, levels: np.ndarray, clusters: list[str], **options: object
) -> object:
    draws = {"n_boot": 100, "seed": 0, "n_permutations": 99, **options}
    return ordinal_trend(scores, levels, clusters, **draws)  # type: ignore[arg-type]


# --- the value ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_levels", [2, 3, 5, 9])
def test_the_value_counts_every_pair_of_two_levels_once(n_levels: int) -> None:
    scores, levels = levelled(n_levels, n_levels=n_levels)
    found = trend(scores, levels, names(40)).concordance
    assert found.value == pytest.approx(brute(scores, levels), abs=1e-12)
    assert (found.n, found.n_clusters, found.unit) == (40, 40, UNIT)
    assert null_value(found) == 0.5


def test_values_known_by_hand() -> None:
    # Pairs (0,1), (0,2), (1,2): a tie, a win, a loss, each with one row a side.
    one = trend(np.array([1.0, 1.0, 2.0, 0.0]), np.array([0, 1, 2, 3]), names(4))
    assert one.concordance.value == pytest.approx((0.5 + 1 + 0 + 1 + 0 + 0) / 6)
    # Without ties in scores or levels it is Kendall's tau on [0, 1].
    scores = np.random.default_rng(3).normal(size=12)
    tau = stats.kendalltau(scores, np.arange(12)).statistic
    distinct = trend(scores, np.arange(12), names(12)).concordance.value
    assert distinct == pytest.approx((tau + 1) / 2)


def test_two_levels_are_an_auroc() -> None:
    scores, levels = levelled(1, n_levels=2)
    value = trend(scores, levels, names(40)).concordance.value
    assert value == pytest.approx(auroc(scores[levels == 1], scores[levels == 0]))


def test_only_ranks_of_scores_and_order_of_levels_count() -> None:
    scores, levels = levelled(2)
    first = trend(scores, levels, names(40))
    other = trend(np.exp(scores), np.array([-7, 0, 2, 100])[levels], names(40))
    assert (other.concordance, other.significance) == (first.concordance, first.significance)
    flipped = trend(-scores, levels, names(40)).concordance.value
    assert flipped == pytest.approx(1 - first.concordance.value)
    shuffled = np.random.default_rng(0).permutation(40)
    moved = trend(scores[shuffled], levels[shuffled], [names(40)[i] for i in shuffled])
    assert moved.concordance == first.concordance


# --- the interval ---------------------------------------------------------------------------------


def mixed(seed: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Ten clusters of two to five rows; each has the lowest and the highest level."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 6, size=10)
    levels = np.concatenate([[0, 2, *rng.integers(3, size=size - 2)] for size in sizes])
    codes = np.repeat(np.arange(10), sizes)
    scores = (0.5 * levels + rng.normal(size=10)[codes] + rng.normal(size=len(codes))).round(1)
    return scores, levels, [names(10)[code] for code in codes]


def test_the_interval_is_the_cluster_bootstrap_of_the_brute_force_value() -> None:
    scores, levels, clusters = mixed(0)
    reference = cluster_bootstrap(
        lambda index: brute(scores[index], levels[index]), clusters, n_boot=150, seed=4, unit=UNIT
    )
    found = trend(scores, levels, clusters, n_boot=150, seed=4).concordance
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high))
    assert found.method == reference.method


def test_slices_of_draws_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, levels, clusters = mixed(1)
    whole = trend(scores, levels, clusters)
    monkeypatch.setattr("trait_probe.evidence.ordinal._ENTRIES", 7 * len(scores))
    assert trend(scores, levels, clusters) == whole


def test_pairs_that_all_agree_do_not_claim_certainty() -> None:
    levels = np.repeat([0, 1, 2], 6)
    for sign, ends in ((1.0, (0.5, 1.0)), (-1.0, (0.0, 0.5))):
        found = trend(sign * np.arange(18.0), levels, names(18)).concordance
        parted = auroc_interval(sign * np.arange(6.0, 18), sign * np.arange(6.0))
        assert (found.low, found.high) == pytest.approx((parted.low, parted.high))
        assert ends[0] < found.low < found.high <= ends[1] or found.low == 0.0
        assert "newcombe" in found.method


def test_clusters_of_the_rarer_side_set_the_width() -> None:
    rng = np.random.default_rng(5)
    scores, rare = rng.normal(size=60), np.repeat([0, 1], [52, 8])
    wide = trend(scores, rare, names(60), n_boot=2000).concordance
    reference = cluster_bootstrap(
        lambda index: brute(scores[index], rare[index]), names(60), n_boot=200, seed=0, unit=UNIT
    )
    assert wide.width > reference.width


def test_coverage_and_error_rates_in_clustered_rows() -> None:
    """Rows of one level per cluster, and levels mixed within clusters; truth 0.5."""
    rng = np.random.default_rng(6)
    codes = np.repeat(np.arange(18), rng.integers(1, 6, size=18))
    clusters = [names(18)[code] for code in codes]
    rounds = 300
    for whole in (True, False):
        fired = covered = naive = 0
        for seed in range(rounds):
            by_cluster = rng.permutation(np.repeat([0, 1, 2], 6))
            levels = by_cluster[codes] if whole else rng.integers(3, size=len(codes))
            scores = rng.normal(size=18)[codes] + 0.3 * rng.normal(size=len(codes))
            found = trend(scores, levels, clusters, seed=seed, n_boot=200)
            fired += found.significance.p <= 0.05
            covered += not found.concordance.excludes(0.5)
            alone = trend(scores, levels, names(len(codes)), seed=seed)
            naive += alone.significance.p <= 0.05
        assert stats.binom.ppf(0.001, rounds, 0.05) <= fired <= stats.binom.ppf(0.999, rounds, 0.05)
        assert 0.90 <= covered / rounds <= 0.99
        assert not whole or naive > 2 * fired


# --- the test -------------------------------------------------------------------------------------


def exact_p(scores: np.ndarray, levelings: list[np.ndarray], value: float, side: str) -> float:
    null = np.array([brute(scores, levels) for levels in levelings]) - 0.5
    value -= 0.5
    if side == "two-sided":
        return float(np.mean(np.abs(null) >= abs(value) - 1e-9))
    sign = 1.0 if side == "greater" else -1.0
    return float(np.mean(sign * null >= sign * value - 1e-9))


@pytest.mark.parametrize("side", ["greater", "less", "two-sided"])
def test_clusters_of_one_level_exchange_it_whole_whatever_their_size(side: str) -> None:
    scores = np.array([0.3, 0.9, 1.2, 0.1, 2.0, 0.8, 1.9, 1.1])
    codes, held = np.array([0, 0, 0, 1, 2, 2, 3, 4]), np.array([0, 0, 1, 2, 1])
    levelings = [np.array(order)[codes] for order in permutations(held)]
    clusters = [names(5)[code] for code in codes]
    found = trend(scores, held[codes], clusters, n_permutations=4000, alternative=side)
    expected = exact_p(scores, levelings, brute(scores, held[codes]), side)
    assert found.significance.p == pytest.approx(expected, abs=0.03)
    assert (found.significance.alternative, found.significance.exact) == (side, False)


def test_rows_of_a_mixed_cluster_exchange_levels_inside_it() -> None:
    scores = np.array([0.3, 0.9, 1.2, 0.1, 2.0, 0.8, 1.9])
    levels = np.array([0, 1, 2, 0, 1, 2, 0])
    clusters = list("aaabbcd")  # a and b are mixed, c and d exchange with each other
    levelings = [
        np.array([*one, *two, *rest])
        for one, two, rest in product(
            permutations(levels[:3]), permutations(levels[3:5]), permutations(levels[5:])
        )
    ]
    found = trend(scores, levels, clusters, n_permutations=4000)
    expected = exact_p(scores, levelings, brute(scores, levels), "greater")
    assert found.significance.p == pytest.approx(expected, abs=0.03)
    # Far apart as whole clusters, so that pairs between clusters would say something else.
    shifted = scores + 10 * np.array([0, 0, 0, 5, 5, 0, 0])
    again = trend(shifted, levels, clusters, n_permutations=4000).significance.p
    assert again == pytest.approx(
        exact_p(shifted, levelings, brute(shifted, levels), "greater"), abs=0.03
    )


def test_with_two_levels_the_test_is_that_of_permuted_labels() -> None:
    scores, levels, clusters = mixed(2)
    labels = levels > 0
    found = trend(scores, labels.astype(int), clusters, n_permutations=4000).significance
    reference = permutation(scores, labels, clusters, statistic="auroc", n=4000, seed=1)
    assert found.statistic == pytest.approx(reference.statistic)
    assert found.p == pytest.approx(reference.p, abs=0.04)


# --- levels, and what does not fit ----------------------------------------------------------------


def test_means_come_by_level_and_need_two_clusters() -> None:
    scores = np.array([0.0, 1.0, 2.0, 5.0, 6.0, 5.5, 7.0, 3.0, 2.5])
    levels, clusters = np.array([3, 3, 3, -1, -1, -1, 8, 8, 3]), list("aabcdfgge")
    found = trend(scores, levels, clusters, unit="logits")
    assert [(row.level, row.n, row.n_clusters) for row in found.levels] == [
        (-1, 3, 3),
        (3, 4, 3),
        (8, 2, 1),
    ]
    assert found.levels[0].mean == clustered_mean(scores[3:6], list("cdf"), unit="logits")
    assert found.levels[2].mean == Unscored("1 cluster at level 8, 2 needed")
    assert isinstance(strict_json(found), dict)


def test_too_little_is_unscored_with_its_reason() -> None:
    scores, clusters = np.arange(6.0), names(6)
    cases = {
        "rows have one level:": scored(scores, np.full(6, 2), clusters),
        "equal": scored(np.ones(6), np.arange(6), clusters),
        "single cluster": scored(scores, np.array([0, 1, 1, 1, 1, 1]), clusters),
        "have one level only": scored(np.array([1.0, 3, 0, 2]), np.array([0, 0, 1, 1]), names(4)),
        "alike": scored(np.tile([0.0, 2.0, 1.0], 4), np.tile([0, 1, 2], 4), list("aaabbbcccddd")),
    }
    for reason, found in cases.items():
        assert isinstance(found, Unscored), reason
        assert reason in found.reason


def test_resamples_of_one_level_are_left_out_and_counted() -> None:
    scores = np.array([1.0, 3.0, 2.0, 0.0, 2.5, 4.0, 1.5, 3.5])
    levels = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    found = trend(scores, levels, names(8), n_boot=1000).concordance
    assert "of one level left out" in found.method


def test_a_check_of_the_interval_asks_for_more_than_one_half() -> None:
    effect = Estimate(0.56, 0.45, 0.7, 40, 40, UNIT, "cluster bootstrap")
    assert interval_check("shift", effect).status == "failed"
    assert "above 0.5" in interval_check("separation", effect).required


def test_what_does_not_fit_is_refused() -> None:
    scores, levels = levelled(7, n=6, n_levels=3)
    with pytest.raises(MismatchError, match="5 entries for 6 rows"):
        scored(scores, levels[:5], names(6))
    with pytest.raises(MismatchError, match="5 entries for 6 rows"):
        scored(scores, levels, names(5))
    with pytest.raises(BadInputError, match="number of clusters"):
        scored(scores, levels, ["a"] * 6)
    with pytest.raises(BadInputError, match="must be finite"):
        scored(np.full(6, np.nan), levels, names(6))
    with without_type_checks(), pytest.raises(BadInputError, match="no such alternative"):
        scored(scores, levels, names(6), alternative="up")
    with without_type_checks(), pytest.raises(BadInputError, match="Levels are whole numbers"):
        scored(scores, levels + 0.5, names(6))
