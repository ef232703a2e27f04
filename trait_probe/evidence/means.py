"""Means, differences of means and interactions, with intervals for rows that come in clusters.

Student t throughout: the variance is summed over clusters, the degrees of freedom count clusters.
The standardized differences live in `standardized` and are offered here too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from trait_probe.evidence._arrays import (
    as_finite,
    cluster_codes,
    require_count,
    require_fraction,
    require_same_length,
)
from trait_probe.evidence._draws import both_or_neither, cluster_sums, grouping, require_paired
from trait_probe.evidence.estimate import Estimate
from trait_probe.evidence.standardized import (
    noncentral_interval,
    standardized_difference,
    standardized_paired,
)

__all__ = [
    "clustered_mean",
    "clustered_means",
    "double_difference",
    "interaction",
    "mean_difference",
    "noncentral_interval",
    "paired_interaction",
    "standardized_difference",
    "standardized_paired",
    "t_quantile",
]

_ROUNDING = 1e-12  # a spread below this share of the values is rounding


def clustered_mean(
    values: Float[np.ndarray, " row"], clusters: Sequence[str], *, unit: str, level: float = 0.95
) -> Estimate:
    """Mean over rows, with a Student t interval from the cluster-robust variance.

    Variance: G/(G-1) sum_g (sum_{i in g} (x_i - mean))^2 / n^2 with G clusters (Liang & Zeger
    1986), G - 1 degrees of freedom. With one row per cluster this is the one-sample t interval.

    The interval has width zero only when all rows are equal. Where rows vary but the clusters
    agree exactly, the clustered variance is zero by accident; there the one of the rows as
    independent ones is used, and `method` says so.

    Args:
        unit: unit of the values.

    Raises:
        BadInputError: fewer than two clusters, or values not finite.
        MismatchError: `clusters` has not one entry per row.
    """
    require_fraction(level, "level")
    mean, se, n_clusters = clustered_means(values[:, None], clusters)
    spread, method = float(se[0]), "student t, clustered"
    if spread == 0.0 and _vary(values):
        spread = float(values.astype(np.float64).std(ddof=1) / np.sqrt(len(values)))
        method = "student t, rows (the clusters agree exactly)"
    half = t_quantile(level, n_clusters - 1) * spread
    value = float(mean[0])
    return Estimate(value, value - half, value + half, len(values), n_clusters, unit, method, level)


def clustered_means(
    values: Float[np.ndarray, "row look"], clusters: Sequence[str]
) -> tuple[Float[np.ndarray, " look"], Float[np.ndarray, " look"], int]:
    """Mean and cluster-robust standard error of each column, and the number of clusters.

    As in `clustered_mean`; a standard error below rounding is exactly 0.

    Raises:
        BadInputError: fewer than two clusters, or values not finite.
        MismatchError: `clusters` has not one entry per row.
    """
    rows = as_finite(values, "The values", at_least=2)
    codes, n_clusters = _codes(len(rows), clusters)
    mean = rows.mean(axis=0)
    sums = cluster_sums(rows - mean, codes, n_clusters)
    variance = n_clusters / (n_clusters - 1) * (sums**2).sum(axis=0) / len(rows) ** 2
    se = np.sqrt(variance)
    se[se <= _ROUNDING * np.abs(rows).max(axis=0)] = 0.0
    return mean, se, n_clusters


def mean_difference(
    positive: Float[np.ndarray, " positive"],
    negative: Float[np.ndarray, " negative"],
    *,
    positive_clusters: Sequence[str] | None = None,
    negative_clusters: Sequence[str] | None = None,
    unit: str,
    level: float = 0.95,
) -> Estimate:
    """Mean of `positive` minus mean of `negative`, in `unit`.

    Without clusters Welch's t interval (Satterthwaite's degrees of freedom). With clusters the
    deviations of all rows are summed by cluster, so that what the two sides of one cluster share
    cancels; degrees of freedom: clusters of the smaller side minus 1. Where the rows of a side
    vary but these sums do not, the variance of independent rows is used, and `method` says so.

    Args:
        positive_clusters, negative_clusters: cluster name per row; both or neither. A name on
            both sides is one cluster.

    Raises:
        BadInputError: fewer than two rows (or clusters) on a side, or values not finite.
        MismatchError: not one cluster name per row.
    """
    clusters = both_or_neither(positive_clusters, negative_clusters)
    return _contrast((positive, negative), (1.0, -1.0), clusters, unit, level)


def interaction(
    a: Float[np.ndarray, " a"],
    b: Float[np.ndarray, " b"],
    c: Float[np.ndarray, " c"],
    d: Float[np.ndarray, " d"],
    *,
    clusters: tuple[Sequence[str], Sequence[str], Sequence[str], Sequence[str]] | None = None,
    unit: str,
    level: float = 0.95,
) -> Estimate:
    """2x2 interaction of unpaired cells: (mean b - mean a) - (mean d - mean c), in `unit`.

    The variance is the sum over the cells (Satterthwaite's degrees of freedom); with clusters it
    is summed by cluster as in `mean_difference`, and a name in two cells is one cluster.

    Raises:
        BadInputError: a cell with fewer than two rows (or clusters), or values not finite.
        MismatchError: not one cluster name per row.
    """
    return _contrast((a, b, c, d), (-1.0, 1.0, 1.0, -1.0), clusters, unit, level)


def paired_interaction(
    a: Float[np.ndarray, " row"],
    b: Float[np.ndarray, " _"],
    c: Float[np.ndarray, " _"],
    d: Float[np.ndarray, " _"],
    clusters: Sequence[str],
    *,
    unit: str,
    level: float = 0.95,
) -> Estimate:
    """2x2 interaction of one item per row: `clustered_mean` of (b - a) - (d - c).

    Raises:
        MismatchError: the cells have not the same rows.
        BadInputError: fewer than two clusters, or values not finite.
    """
    return clustered_mean(double_difference(b, a, d, c), clusters, unit=unit, level=level)


def double_difference(
    treated_after: Float[np.ndarray, " row"],
    treated_before: Float[np.ndarray, " _"],
    control_after: Float[np.ndarray, " _"],
    control_before: Float[np.ndarray, " _"],
) -> Float[np.ndarray, " row"]:
    """(treated after - before) - (control after - before), row by row.

    Its `clustered_mean` is the difference of differences of two models on the same rows.

    Raises:
        MismatchError: the four have not the same rows.
        BadInputError: no rows, or values not finite.
    """
    four = (treated_after, treated_before, control_after, control_before)
    for other in four[1:]:
        require_paired(len(treated_after), len(other), "Each of the four sets of values")
    one, two, three, last = (as_finite(values, "The values") for values in four)
    return np.asarray((one - two) - (three - last))


def t_quantile(level: float, df: int | float) -> float:
    """Student t quantile that leaves (1 - level) / 2 above it."""
    return float(special.stdtrit(df, (1.0 + level) / 2.0))


def _contrast(
    groups: Sequence[Float[np.ndarray, " _"]],
    signs: Sequence[float],
    clusters: Sequence[Sequence[str]] | None,
    unit: str,
    level: float,
) -> Estimate:
    """Signed sum of group means."""
    require_fraction(level, "level")
    rows = [as_finite(group, "The values of each group", at_least=2) for group in groups]
    n = sum(len(group) for group in rows)
    value = float(sum(sign * group.mean() for sign, group in zip(signs, rows, strict=True)))
    variance, df = _welch(rows)
    n_clusters, method = n, "welch t"
    if clusters is not None:
        method = "student t, rows (the clusters leave no variance)"
        between, k, n_clusters = _between(rows, signs, clusters)
        df = k - 1
        if between > 0.0:
            variance, method = between, "student t, clustered"
    half = t_quantile(level, df) * float(np.sqrt(variance))
    return Estimate(value, value - half, value + half, n, n_clusters, unit, method, level)


def _welch(rows: Sequence[Float[np.ndarray, " _"]]) -> tuple[float, float]:
    """Variance of the sum of means of independent rows, and Satterthwaite's df."""
    parts = np.array([group.var(ddof=1) / len(group) if _vary(group) else 0.0 for group in rows])
    variance = float(parts.sum())
    if variance == 0.0:
        return 0.0, 1.0
    dfs = np.array([len(group) - 1 for group in rows])
    return variance, float(variance**2 / (parts**2 / dfs).sum())


def _between(
    rows: Sequence[Float[np.ndarray, " _"]],
    signs: Sequence[float],
    clusters: Sequence[Sequence[str]],
) -> tuple[float, int, int]:
    """Variance from sums by cluster, clusters of the smallest group, clusters overall."""
    found = grouping([len(group) for group in rows], clusters)
    influence = np.concatenate(
        [
            sign * (group - group.mean()) / len(group)
            for sign, group in zip(signs, rows, strict=True)
        ]
    )
    sums = np.bincount(np.concatenate(found.codes), weights=influence)
    k = min(found.sides)
    variance = float(k / (k - 1) * (sums**2).sum())
    largest = max(float(np.abs(group).max()) for group in rows)
    return (variance if np.sqrt(variance) > _ROUNDING * largest else 0.0), k, found.n_clusters


def _vary(values: Float[np.ndarray, " _"]) -> bool:
    return bool(np.ptp(values) > _ROUNDING * np.abs(values).max())


def _codes(n: int, clusters: Sequence[str]) -> tuple[Int[np.ndarray, " row"], int]:
    require_same_length(n, clusters, "clusters")
    codes, n_clusters = cluster_codes(clusters)
    require_count(n_clusters, 2, "The number of clusters")
    return codes, n_clusters
