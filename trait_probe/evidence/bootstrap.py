"""Intervals by resampling whole clusters: tokens and paraphrases of one prompt move together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from trait_probe.errors import BadInputError
from trait_probe.evidence._arrays import (
    as_finite,
    cluster_codes,
    require_count,
    require_fraction,
    require_same_length,
)
from trait_probe.evidence.estimate import Estimate

_CHUNK = 128  # resamples whose weights are held at once: bounds memory for many clusters


def cluster_bootstrap(
    statistic: Callable[[Int[np.ndarray, " row"]], float],
    clusters: Sequence[str],
    *,
    n_boot: int,
    seed: int,
    level: float = 0.95,
    unit: str,
) -> Estimate:
    """`statistic` of all rows, with an interval from resampling clusters with replacement.

    The interval is Hesterberg's (2015) expanded percentile: the quantile levels are widened so
    that the interval matches Student t with few clusters. The plain percentile interval covers
    88 % instead of 95 % at 8 clusters, the expanded one 94 % (normal data).

    Args:
        statistic: row indices (repeated where a cluster was drawn twice) -> a finite number.
        clusters: cluster name of each row; the row order does not matter.
        n_boot: resamples, at least 100.
        unit: unit of the statistic, for the `Estimate`.

    Raises:
        BadInputError: fewer than two clusters, or the statistic is not finite on a resample.
    """
    _validate(clusters, n_boot, level)
    members = _members(clusters)
    value = _finite(statistic(np.arange(len(clusters), dtype=np.int64)))
    resampled = np.array(
        [
            _finite(statistic(np.concatenate([members[i] for i in draw])))
            for draw in _draws(len(members), n_boot, seed)
        ]
    )
    low, high = np.quantile(resampled, expanded_levels(len(members), level))
    method = f"cluster bootstrap (expanded percentile), {n_boot} resamples"
    return Estimate(
        value, float(low), float(high), len(clusters), len(members), unit, method, level
    )


def cluster_bootstrap_means(
    values: Float[np.ndarray, "prompt column"],
    clusters: Sequence[str],
    *,
    n_boot: int,
    seed: int,
    level: float = 0.95,
) -> tuple[Float[np.ndarray, " column"], Float[np.ndarray, " column"]]:
    """Low and high ends for the mean of each column, as `cluster_bootstrap` would give them.

    All columns share their resamples (same `seed`: the very ones of `cluster_bootstrap`), as
    matrix products of cluster weights with cluster sums; units are those of `values`.

    Raises:
        BadInputError: fewer than two clusters, or values not finite.
        MismatchError: `clusters` has not one entry per row.
    """
    _validate(clusters, n_boot, level)
    rows = as_finite(values, "The values")
    require_same_length(len(rows), clusters, "clusters")
    codes, n_clusters = cluster_codes(clusters)
    sums = np.zeros((n_clusters, rows.shape[1]))
    np.add.at(sums, codes, rows)
    sizes = np.bincount(codes, minlength=n_clusters).astype(np.float64)
    means = [
        (weights @ sums) / (weights @ sizes)[:, None]
        for weights in _weights(n_clusters, n_boot, seed)
    ]
    low, high = np.quantile(np.concatenate(means), expanded_levels(n_clusters, level), axis=0)
    return low, high


def _validate(clusters: Sequence[str], n_boot: int, level: float) -> None:
    require_count(n_boot, 100, "n_boot")
    require_fraction(level, "level")
    n_clusters = len(set(clusters))
    if n_clusters < 2:
        raise BadInputError(
            "A cluster bootstrap needs at least two clusters.",
            got=n_clusters,
            fix="Add prompts from other clusters, or report Unscored(reason).",
        )


def _members(clusters: Sequence[str]) -> list[Int[np.ndarray, " _"]]:
    codes, n_clusters = cluster_codes(clusters)
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.cumsum(np.bincount(codes, minlength=n_clusters))[:-1])


def _draws(n_clusters: int, n_boot: int, seed: int) -> Iterator[Int[np.ndarray, " cluster"]]:
    rng = np.random.default_rng(seed)
    for _ in range(n_boot):
        yield rng.integers(n_clusters, size=n_clusters)


def _weights(n_clusters: int, n_boot: int, seed: int) -> Iterator[Float[np.ndarray, "_ cluster"]]:
    """How often each resample drew each cluster, `_CHUNK` resamples at a time."""
    chunk: list[Float[np.ndarray, " cluster"]] = []
    for draw in _draws(n_clusters, n_boot, seed):
        chunk.append(np.bincount(draw, minlength=n_clusters).astype(np.float64))
        if len(chunk) == _CHUNK:
            yield np.stack(chunk)
            chunk = []
    if chunk:
        yield np.stack(chunk)


def expanded_levels(n_clusters: int, level: float) -> tuple[float, float]:
    """Expanded quantile levels: Phi(-sqrt(n / (n - 1)) t), Hesterberg (2015)."""
    t = stats.t.ppf((1.0 + level) / 2.0, n_clusters - 1)
    tail = float(stats.norm.cdf(-np.sqrt(n_clusters / (n_clusters - 1)) * t))
    return tail, 1.0 - tail


def _finite(value: float) -> float:
    if not np.isfinite(value):
        raise BadInputError(
            "The bootstrapped statistic must be finite on every resample.",
            got=float(value),
            fix="Make it raise on degenerate input, or use more clusters per class.",
        )
    return float(value)
