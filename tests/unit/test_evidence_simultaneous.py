"""Many looks at once: written-out maxima, family-wise error and joint coverage by simulation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import special, stats

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.auc import auroc, auroc_interval
from trait_probe.evidence.estimate import strict_json
from trait_probe.evidence.means import clustered_mean, clustered_means
from trait_probe.evidence.significance import permutation, sign_flip
from trait_probe.evidence.simultaneous import (
    Simultaneous,
    simultaneous_aurocs,
    simultaneous_means,
)


def names(n: int) -> list[str]:
    return [f"c{i}" for i in range(n)]


def correlated(rng: np.random.Generator, n: int, looks: int = 20) -> np.ndarray:
    """Looks that share half of their variance, as neighbouring layers do."""
    return (rng.normal(size=(n, looks)) + rng.normal(size=(n, 1))) / np.sqrt(2)


# --- means ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["greater", "less", "two-sided"])
def test_max_t_by_the_definition(side: str) -> None:
    """Flip the rows themselves, recompute every t, count the maxima; unequal clusters."""
    clusters = np.array(list("aabcccdeef"))
    values = np.random.default_rng(0).normal(0.5, 1.0, size=(10, 3))
    view = {"greater": lambda t: t, "less": lambda t: -t, "two-sided": np.abs}[side]
    largest = []
    for signs in product((1.0, -1.0), repeat=6):
        flipped = values * np.array([signs["abcdef".index(name)] for name in clusters])[:, None]
        mean, se, _ = clustered_means(flipped, list(clusters))
        largest.append(view(mean / se).max())
    mean, se, _ = clustered_means(values, list(clusters))
    expected = [(np.array(largest) >= t - 1e-9).mean() for t in view(mean / se)]
    result = simultaneous_means(values, list(clusters), n=64, seed=0, alternative=side)
    assert result.p == pytest.approx(expected)
    assert result.value == pytest.approx(mean)
    assert (result.looks, result.n_draws) == (3, 64)


def test_bands_by_the_definition() -> None:
    values = np.random.default_rng(1).normal(size=(7, 4)) + np.arange(4)
    mean, se, _ = clustered_means(values, names(7))
    largest = []
    for signs in product((1.0, -1.0), repeat=7):
        flipped = (values - mean) * np.array(signs)[:, None]
        star, spread, _ = clustered_means(flipped, names(7))
        largest.append(np.abs(star / spread).max())
    c = np.sort(largest)[int(np.ceil(0.9 * 129)) - 1]
    result = simultaneous_means(values, names(7), n=128, seed=0, level=0.9)
    assert result.high - result.value == pytest.approx(c * se)
    assert result.value - result.low == pytest.approx(c * se)
    assert c > stats.t.ppf(0.95, 6)


def test_one_look_is_the_sign_flip_of_t_and_never_narrower_than_students_t() -> None:
    """With equal clusters |t| grows with |mean|, so both tests count the same flips."""
    values = np.random.default_rng(2).normal(0.4, 1.0, 11)
    for n in (99, 2048):
        result = simultaneous_means(values[:, None], names(11), n=n, seed=5)
        single = sign_flip(values, names(11), n=n, seed=5, alternative="two-sided")
        assert result.p[0] == pytest.approx(single.p)
        student = clustered_mean(values, names(11), unit="SD")
        assert result.high[0] - result.low[0] >= student.width - 1e-12
        assert result.high[0] - result.low[0] < 1.5 * student.width


def test_copies_of_rows_and_the_scale_of_a_look_change_nothing() -> None:
    values = np.random.default_rng(3).normal(0.5, 1.0, size=(12, 5))
    once = simultaneous_means(values, names(12), n=500, seed=1)
    scale = np.array([1.0, 100.0, 0.01, 3.0, 7.0])
    copied = simultaneous_means(
        np.repeat(values * scale, 3, axis=0), list(np.repeat(names(12), 3)), n=500, seed=1
    )
    assert copied.p == pytest.approx(once.p)
    assert copied.low == pytest.approx(once.low * scale)
    assert copied.high == pytest.approx(once.high * scale)


def test_looks_without_variance_are_left_out_and_called_nothing() -> None:
    values = np.random.default_rng(4).normal(1.0, 1.0, size=(12, 2))
    alone = simultaneous_means(values, names(12), n=500, seed=0)
    flat = np.column_stack([np.full(12, 0.3), values, np.zeros(12)])
    result = simultaneous_means(flat, names(12), n=500, seed=0)
    assert result.p == pytest.approx([1.0, *alone.p, 1.0])
    assert (result.high - result.low)[[0, 3]] == pytest.approx([0.0, 0.0])
    assert simultaneous_means(np.ones((5, 2)), names(5), n=99, seed=0).p == pytest.approx([1, 1])


def test_equal_rows_up_to_their_sign_do_not_break_the_maximum() -> None:
    """A flip can make all clusters equal: its t has no spread but stays finite."""
    values = np.array([[1.0], [-1.0], [1.0], [1.0], [1.0], [1.0]])
    result = simultaneous_means(values, names(6), n=64, seed=0)
    expected = sign_flip(values[:, 0], names(6), n=64, seed=0, alternative="two-sided")
    assert result.p[0] == pytest.approx(expected.p)


def test_means_hold_family_wise_error_and_cover_jointly() -> None:
    rng = np.random.default_rng(5)
    truth = np.linspace(0.0, 3.0, 20)
    clusters = list(np.repeat(names(15), 2))
    wrong, single, covered = 0, 0, 0
    for seed in range(200):
        noise = np.repeat(correlated(rng, 15), 2, axis=0) + 0.3 * rng.normal(size=(30, 20))
        null = simultaneous_means(noise, clusters, n=299, seed=seed)
        wrong += null.p.min() <= 0.05
        mean, se, _ = clustered_means(noise, clusters)
        single += np.abs(mean / se).max() > stats.t.ppf(0.975, 14)
        bands = simultaneous_means(noise + truth, clusters, n=299, seed=seed)
        covered += bool(((bands.low <= truth) & (truth <= bands.high)).all())
    assert wrong <= stats.binom.ppf(0.99, 200, 0.05)
    assert single > 3 * stats.binom.ppf(0.99, 200, 0.05)
    assert covered >= 0.9 * 200


def test_a_planted_look_is_found_among_many() -> None:
    values = correlated(np.random.default_rng(6), 30)
    values[:, 7] += 1.5
    result = simultaneous_means(values, names(30), n=999, seed=0)
    assert result.p[7] == pytest.approx(0.001)
    assert result.low[7] > 0.0
    assert np.delete(result.p, 7).min() > 0.05


# --- AUROCs ---------------------------------------------------------------------------------------


def study(rng: np.random.Generator, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """24 clusters of two rows, half of them positive."""
    labels = np.repeat(np.arange(24) < 12, 2)
    scores = np.repeat(correlated(rng, 24, len(shift)), 2, axis=0)
    scores = scores + 0.3 * rng.normal(size=scores.shape) + labels[:, None] * shift
    return scores, labels, list(np.repeat(names(24), 2))


def test_one_look_is_the_permutation_of_its_auroc_in_the_single_interval() -> None:
    scores, labels, clusters = study(np.random.default_rng(7), np.array([0.8]))
    for side in ("greater", "less", "two-sided"):
        result = simultaneous_aurocs(scores, labels, clusters, n=999, seed=3, alternative=side)
        single = permutation(
            scores[:, 0],
            labels,
            clusters,
            statistic="auroc",
            n=999,
            seed=3,
            alternative=side,
        )
        assert result.p[0] == pytest.approx(single.p)
    one = auroc_interval(
        scores[labels, 0],
        scores[~labels, 0],
        positive_clusters=clusters[:24],
        negative_clusters=clusters[24:],
    )
    assert result.value[0] == pytest.approx(one.value)
    assert result.low[0] == pytest.approx(one.low, abs=0.02)
    assert result.high[0] == pytest.approx(one.high, abs=0.02)
    assert result.low[0] <= one.low + 1e-9
    assert result.high[0] >= one.high - 1e-9


def test_values_are_aurocs_and_more_looks_widen_the_bands() -> None:
    scores, labels, clusters = study(np.random.default_rng(8), np.linspace(0.0, 2.0, 20))
    result = simultaneous_aurocs(scores, labels, clusters, n=500, seed=0)
    expected = [auroc(scores[labels, k], scores[~labels, k]) for k in range(20)]
    assert result.value == pytest.approx(expected)
    alone = simultaneous_aurocs(scores[:, :1], labels, clusters, n=500, seed=0)
    assert result.high[0] - result.low[0] > 1.1 * (alone.high[0] - alone.low[0])
    assert result.p[0] >= alone.p[0]


def test_few_clusters_widen_the_bands_as_student_t_does() -> None:
    """Two looks of 4 clusters a side: wider than one look, narrower than Bonferroni's t."""
    scores = np.random.default_rng(12).normal(size=(80, 2))
    labels, clusters = np.arange(80) < 40, list(np.repeat(names(8), 10))
    result = simultaneous_aurocs(scores, labels, clusters, n=20000, seed=0)
    for look in range(2):
        one = auroc_interval(
            scores[labels, look],
            scores[~labels, look],
            positive_clusters=clusters[:40],
            negative_clusters=clusters[40:],
        )
        joint, single = (
            special.logit(end) - special.logit(one.value) for end in (result.high[look], one.high)
        )
        assert 1.1 < joint / single < stats.t.ppf(0.9875, 3) / stats.t.ppf(0.975, 3) + 0.01


def test_rows_of_one_carrier_in_both_classes_are_relabeled_inside() -> None:
    """Carrier effects cancel: clusters matched across the classes see what plain rows hide."""
    rng = np.random.default_rng(9)
    carrier = 5 * rng.normal(size=(20, 3))
    scores = np.concatenate([carrier + 1.0 + 0.5 * rng.normal(size=(20, 3)), carrier])
    labels = np.arange(40) < 20
    paired = simultaneous_aurocs(scores, labels, names(20) * 2, n=999, seed=0)
    plain = simultaneous_aurocs(scores, labels, names(40), n=999, seed=0)
    assert paired.p.max() <= 0.05
    assert plain.p.min() > 0.1
    assert (paired.high - paired.low).max() < 0.5 * (plain.high - plain.low).min()


def test_perfect_separation_gets_bonferronis_score_interval() -> None:
    scores, labels, clusters = study(np.random.default_rng(10), np.array([0.3, 99.0]))
    result = simultaneous_aurocs(scores, labels, clusters, n=500, seed=0)
    one = auroc_interval(
        scores[labels, 1],
        scores[~labels, 1],
        positive_clusters=clusters[:24],
        negative_clusters=clusters[24:],
        level=0.975,
    )
    assert (result.value[1], result.high[1]) == (1.0, 1.0)
    assert result.low[1] == pytest.approx(one.low)
    assert result.low[1] < 0.95
    constant = simultaneous_aurocs(np.zeros((48, 2)), labels, clusters, n=99, seed=0)
    assert constant.p == pytest.approx([1.0, 1.0])
    assert (constant.low < 0.5).all()


def test_aurocs_hold_family_wise_error_and_cover_jointly() -> None:
    rng = np.random.default_rng(11)
    shift = np.linspace(0.0, 1.5, 20)
    truth = stats.norm.cdf(shift / np.sqrt(2 * 1.09))
    wrong, single, covered = 0, 0, 0
    for seed in range(200):
        null = simultaneous_aurocs(*study(rng, np.zeros(20)), n=199, seed=seed)
        wrong += null.p.min() <= 0.05
        single += null.value.max() > 0.5 + 1.645 * np.sqrt(25 / (12 * 12 * 12))
        bands = simultaneous_aurocs(*study(rng, shift), n=199, seed=seed)
        covered += bool(((bands.low <= truth) & (truth <= bands.high)).all())
    assert wrong <= stats.binom.ppf(0.99, 200, 0.05)
    assert single > 2 * stats.binom.ppf(0.99, 200, 0.05)
    assert covered >= 0.9 * 200


# --- refusals -------------------------------------------------------------------------------------


def test_what_does_not_fit_is_refused() -> None:
    values = np.random.default_rng(0).normal(size=(6, 2))
    with pytest.raises(BadInputError, match="number of clusters must be at least 2"):
        simultaneous_means(values, ["a"] * 6, n=99, seed=0)
    with pytest.raises(BadInputError, match="n must be at least 1"):
        simultaneous_means(values, names(6), n=0, seed=0)
    with pytest.raises(MismatchError, match="5 entries for 6 rows"):
        simultaneous_aurocs(values, np.arange(5) < 2, names(6), n=99, seed=0)
    with pytest.raises(MismatchError, match="4 entries for 6 rows"):
        simultaneous_aurocs(values, np.arange(6) < 3, names(4), n=99, seed=0)
    with pytest.raises(BadInputError, match="two clusters in each group"):
        simultaneous_aurocs(values, np.arange(6) < 3, list("aaabcd"), n=99, seed=0)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("low", [0.6, 0.0], "low <= high"),
        ("p", [0.0, 1.0], "low <= high and p"),
        ("high", [np.nan, 1.0], "finite"),
        ("p", [0.5], "one number per look"),
    ],
)
def test_a_result_checks_itself(field: str, value: list[float], sentence: str) -> None:
    fields = {name: np.array([0.5, 0.5]) for name in ("value", "low", "high", "p")}
    with pytest.raises(BadInputError, match=sentence):
        Simultaneous(**fields | {field: np.array(value)}, level=0.95, n_draws=9, method="x")


def test_json_is_strict() -> None:
    values = np.random.default_rng(0).normal(size=(6, 2))
    plain = strict_json(simultaneous_means(values, names(6), n=99, seed=0))
    assert plain["looks"] == len(plain["p"]) == 2
    assert plain["n_draws"] == 64
