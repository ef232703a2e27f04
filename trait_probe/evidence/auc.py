"""Area under the ROC curve with intervals that stay honest at the edges and in clustered data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import optimize, special, stats

from trait_probe.errors import BadInputError
from trait_probe.evidence._arrays import (
    as_finite,
    cluster_codes,
    require_count,
    require_fraction,
    require_same_length,
)
from trait_probe.evidence._draws import both_or_neither
from trait_probe.evidence.estimate import Estimate, Unscored


def auroc(
    positive: Float[np.ndarray, " positive"], negative: Float[np.ndarray, " negative"]
) -> float:
    """Probability that a positive scores above a negative, ties counting one half; in [0, 1].

    Raises:
        BadInputError: an empty class or a score that is not finite.
    """
    above = as_finite(positive, "The positive scores")
    below = as_finite(negative, "The negative scores")
    return float(auroc_columns(above[:, None], below[:, None])[0])


def auroc_columns(
    positive: Float[np.ndarray, "positive column"], negative: Float[np.ndarray, "negative column"]
) -> Float[np.ndarray, " column"]:
    """`auroc` of each column (directions, layers) from midranks, in one pass.

    Raises:
        BadInputError: an empty class or a score that is not finite.
    """
    above = as_finite(positive, "The positive scores")
    below = as_finite(negative, "The negative scores")
    m, n = above.shape[0], below.shape[0]
    ranks = stats.rankdata(np.concatenate([above, below]), axis=0)
    wins = ranks[:m].sum(axis=0) - m * (m + 1) / 2
    return np.asarray(wins / (m * n), dtype=np.float64)


def auroc_interval(
    positive: Float[np.ndarray, " positive"],
    negative: Float[np.ndarray, " negative"],
    *,
    positive_clusters: Sequence[str] | None = None,
    negative_clusters: Sequence[str] | None = None,
    variance_inflation: float = 1.0,
    level: float = 0.95,
) -> Estimate:
    """`auroc` with DeLong's interval, on the logit scale so that it stays inside [0, 1].

    The variance is DeLong, DeLong & Clarke-Pearson (1988); with clusters (tokens of one prompt,
    trigger and control of one carrier) it is Obuchowski's (1997) sum over clusters, with Student t
    quantiles. On the plain scale the interval covers only 63 % at AUROC 0.96 with 10 rows a side;
    the logit scale (Qin & Hotilovac 2008) repairs that. Where the variance is zero (perfect
    separation, constant scores) DeLong would claim certainty; there Newcombe's (2006) score
    interval is used, with the clusters as its sample sizes. `method` says which.

    Args:
        positive_clusters, negative_clusters: cluster name per row; both or neither. A name on
            both sides is one cluster.
        variance_inflation: at least 1; for out-of-fold scores, whose models share training rows,
            `out_of_fold_inflation(folds)`.

    Raises:
        BadInputError: fewer than two rows (or clusters) in a class, or scores not finite.
    """
    require_fraction(level, "level")
    above = as_finite(positive, "The positive scores", at_least=2)
    below = as_finite(negative, "The negative scores", at_least=2)
    value, v10, v01 = _components(above, below)
    clusters = _cluster_names(len(above), len(below), positive_clusters, negative_clusters)
    variance, sides, n_clusters = _variance(v10, v01, clusters)
    variance *= _inflation(variance_inflation)
    if variance <= 1e-24:
        low, high = _newcombe(value, *sides, level)
        method = "newcombe score (no variance within the sample)"
    else:
        quantile = _quantile(level, clusters, min(sides))
        low, high = _logit_interval(value, quantile * float(np.sqrt(variance)))
        method = "delong (logit)" + _method_notes(clusters, variance_inflation)
    n = len(above) + len(below)
    return Estimate(value, low, high, n, n_clusters, "AUROC", method, level)


def auroc_difference(
    first: tuple[Float[np.ndarray, " positive"], Float[np.ndarray, " negative"]],
    second: tuple[Float[np.ndarray, " positive"], Float[np.ndarray, " negative"]],
    *,
    positive_clusters: Sequence[str] | None = None,
    negative_clusters: Sequence[str] | None = None,
    variance_inflation: float = 1.0,
    level: float = 0.95,
) -> Estimate | Unscored:
    """AUROC of `first` minus AUROC of `second`, two scores of the same rows; in [-1, 1].

    DeLong's paired test as an interval: the components of the two scores are subtracted row by
    row, so what the scores share cancels. Normal quantiles, Student t when clustered. Two scores
    that rank all rows alike have no variance to build an interval from: Unscored. Where there is
    none though the AUROCs differ (perfect separation against a constant), DeLong would claim
    certainty; there the two score intervals are joined (Newcombe 1998, method 10).

    Args:
        first, second: (positive scores, negative scores), rows in the same order.
        positive_clusters, negative_clusters, variance_inflation: as in `auroc_interval`.

    Raises:
        BadInputError: fewer than two rows (or clusters) in a class, or scores not finite.
    """
    require_fraction(level, "level")
    one = _components(*(as_finite(side, "The first scores", at_least=2) for side in first))
    two = _components(*(as_finite(side, "The second scores", at_least=2) for side in second))
    m, n = len(one[1]), len(one[2])
    clusters = _cluster_names(m, n, positive_clusters, negative_clusters)
    variance, sides, n_clusters = _variance(one[1] - two[1], one[2] - two[2], clusters)
    variance *= _inflation(variance_inflation)
    value = one[0] - two[0]
    if variance <= 1e-24 and abs(value) <= 1e-12:
        return Unscored("the two scores rank every row alike: their difference has no variance")
    if variance <= 1e-24:
        low, high = _joined(one[0], two[0], sides, level)
        method = "newcombe score intervals joined (no variance within the sample)"
        return Estimate(value, low, high, m + n, n_clusters, "AUROC difference", method, level)
    half = _quantile(level, clusters, min(sides)) * float(np.sqrt(variance))
    method = "delong, paired" + _method_notes(clusters, variance_inflation)
    low, high = max(-1.0, value - half), min(1.0, value + half)
    return Estimate(value, low, high, m + n, n_clusters, "AUROC difference", method, level)


def out_of_fold_inflation(folds: int) -> float:
    """How much the variance of out-of-fold scores exceeds that of independent ones.

    1 + k n_test / n_train (Nadeau & Bengio 2003) for k folds. Models of two folds share training
    rows and err alike: on pure noise the plain interval excludes chance in 11 to 19 % of runs.

    Raises:
        BadInputError: fewer than two folds.
    """
    require_count(folds, 2, "folds")
    return 1.0 + folds / (folds - 1)


def _inflation(factor: float) -> float:
    if not 1.0 <= factor < np.inf:
        raise BadInputError(
            "variance_inflation must be 1 or more.",
            got=factor,
            fix="Use out_of_fold_inflation(folds) for out-of-fold scores, else leave it out.",
        )
    return factor


def _method_notes(clusters: tuple[Sequence[str], Sequence[str]] | None, inflation: float) -> str:
    clustered = "" if clusters is None else ", clustered (obuchowski)"
    return clustered + ("" if inflation == 1.0 else f", variance x {inflation:g} (nadeau-bengio)")


def _components(
    above: Float[np.ndarray, " positive"], below: Float[np.ndarray, " negative"]
) -> tuple[float, Float[np.ndarray, " positive"], Float[np.ndarray, " negative"]]:
    """AUROC and DeLong's structural components: each row's share of won comparisons."""
    m, n = len(above), len(below)
    ranks = stats.rankdata(np.concatenate([above, below]))
    v10 = (ranks[:m] - stats.rankdata(above)) / n
    v01 = 1.0 - (ranks[m:] - stats.rankdata(below)) / m
    return float(v10.mean()), v10, v01


def _cluster_names(
    m: int, n: int, positive: Sequence[str] | None, negative: Sequence[str] | None
) -> tuple[Sequence[str], Sequence[str]] | None:
    found = both_or_neither(positive, negative)
    if found is not None:
        require_same_length(m, found[0], "positive_clusters")
        require_same_length(n, found[1], "negative_clusters")
    return found


def _variance(
    v10: Float[np.ndarray, " positive"],
    v01: Float[np.ndarray, " negative"],
    clusters: tuple[Sequence[str], Sequence[str]] | None,
) -> tuple[float, tuple[int, int], int]:
    """Variance of the mean component, independent units per class, clusters overall."""
    m, n = len(v10), len(v01)
    if clusters is None:
        return float(v10.var(ddof=1) / m + v01.var(ddof=1) / n), (m, n), m + n
    codes, n_clusters = cluster_codes([*clusters[0], *clusters[1]])
    sides = len(set(clusters[0])), len(set(clusters[1]))
    if min(sides) < 2:
        raise BadInputError(
            "A clustered interval needs at least two clusters in each class.",
            got={"positive": sides[0], "negative": sides[1]},
            fix="Add prompts from other clusters, or report Unscored(reason).",
        )
    influence = np.concatenate([(v10 - v10.mean()) / m, (v01 - v01.mean()) / n])
    sums = np.bincount(codes, weights=influence, minlength=n_clusters)
    # The smaller side's correction: Obuchowski's where each cluster has both classes, else wider.
    correction = min(sides) / (min(sides) - 1)
    return float(correction * (sums**2).sum()), sides, n_clusters


def _quantile(
    level: float, clusters: tuple[Sequence[str], Sequence[str]] | None, n_units: int
) -> float:
    upper = (1.0 + level) / 2.0
    return float(stats.norm.ppf(upper) if clusters is None else stats.t.ppf(upper, n_units - 1))


def _logit_interval(value: float, half_width: float) -> tuple[float, float]:
    """Delta method on log(value / (1 - value)); `value` strictly between 0 and 1."""
    centre = special.logit(value)
    half = half_width / (value * (1.0 - value))
    return float(special.expit(centre - half)), float(special.expit(centre + half))


def _joined(
    first: float, second: float, sides: tuple[int, int], level: float
) -> tuple[float, float]:
    """Interval of a difference from the intervals of its parts, squares of distances added."""
    value = first - second
    low_1, high_1 = _newcombe(first, *sides, level)
    low_2, high_2 = _newcombe(second, *sides, level)
    low = value - float(np.hypot(first - low_1, high_2 - second))
    high = value + float(np.hypot(high_1 - first, second - low_2))
    return max(-1.0, low), min(1.0, high)


def _newcombe(value: float, m: int, n: int, level: float) -> tuple[float, float]:
    """Newcombe (2006), method 5: the AUROCs whose own Hanley-McNeil variance reaches `value`."""
    z = float(stats.norm.ppf((1.0 + level) / 2.0))
    low = _newcombe_lower(value, m, n, z)
    # The variance is symmetric under value -> 1 - value, so the upper end is a mirrored lower end.
    return low, 1.0 - _newcombe_lower(1.0 - value, m, n, z)


def _newcombe_lower(value: float, m: int, n: int, z: float) -> float:
    if value <= 0.0:
        return 0.0

    def excess(theta: float) -> float:
        spread = (1 - theta) / (2 - theta) + theta / (1 + theta)
        variance = theta * (1 - theta) * (1 + ((m + n) / 2 - 1) * spread) / (m * n)
        return (value - theta) ** 2 - z**2 * variance

    return float(optimize.brentq(excess, 0.0, value - 1e-9))
