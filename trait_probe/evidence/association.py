"""Rank correlation of two scores of the same rows, with clusters kept whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from trait_probe.errors import BadInputError
from trait_probe.evidence._arrays import as_finite, count_at_least, require_count, require_fraction
from trait_probe.evidence._draws import bootstrap_weights, grouping, in_chunks, require_paired
from trait_probe.evidence.bootstrap import expanded_levels
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.significance import Alternative, Significance, require_alternative

_MOST_CONSTANT = 0.05  # share of resamples that may have no correlation


def spearman(
    x: Float[np.ndarray, " row"],
    y: Float[np.ndarray, " _"],
    clusters: Sequence[str],
    *,
    n_boot: int,
    seed: int,
    level: float = 0.95,
) -> Estimate | Unscored:
    """Spearman's rank correlation, in [-1, 1], with a cluster bootstrap interval.

    Whole clusters are resampled and both sides ranked anew (midranks); the interval is
    `bootstrap`'s expanded percentile. A resample in which one side is constant has no
    correlation: it is left out and counted in `method`; more than 5 % of them, or a constant side
    of the full sample, leave it Unscored. Perfect agreement gives a width of zero.

    Raises:
        BadInputError: fewer than two clusters, or scores not finite.
        MismatchError: `x`, `y` and `clusters` have not the same rows.
    """
    require_fraction(level, "level")
    one, two = _pairs(x, y)
    found = grouping([len(one)], [clusters])
    if np.ptp(one) == 0.0 or np.ptp(two) == 0.0:
        return _constant()
    weights = bootstrap_weights(found.strata(), n_boot, seed)
    resampled = np.concatenate(
        [
            _weighted_spearman(one, two, part[:, found.codes[0]])
            for part in in_chunks(weights, len(one))
        ]
    )
    scored = resampled[np.isfinite(resampled)]
    missing = n_boot - len(scored)
    if missing > _MOST_CONSTANT * n_boot:
        return Unscored(f"a side is constant in {missing} of {n_boot} resamples of clusters")
    low, high = np.quantile(scored, expanded_levels(found.n_clusters, level))
    value = float(_weighted_spearman(one, two, np.ones((1, len(one))))[0])
    note = f", {missing} constant ones left out" if missing else ""
    method = f"cluster bootstrap (expanded percentile), {n_boot} resamples{note}"
    return Estimate(
        value,
        float(low),
        float(high),
        len(one),
        found.n_clusters,
        "rank correlation",
        method,
        level,
    )


def spearman_p(
    x: Float[np.ndarray, " row"],
    y: Float[np.ndarray, " _"],
    clusters: Sequence[str],
    *,
    n: int,
    seed: int,
    alternative: Alternative = "two-sided",
) -> Significance | Unscored:
    """Test that the rank correlation is 0 by giving each cluster's `y` to another cluster.

    Under the null the clusters' `y` are exchangeable as wholes, in the order in which their rows
    come (the same positions of each prompt, say). With one row per cluster this permutes rows.
    All G! permutations of G clusters are counted where there are at most `n` (p = share of them
    that reach the data, themselves included); else `n` random ones, p = (1 + reached) / (1 + n).
    A constant side is Unscored.

    Raises:
        BadInputError: clusters of unequal size, fewer than two, or scores not finite.
        MismatchError: `x`, `y` and `clusters` have not the same rows.
    """
    require_count(n, 1, "n")
    require_alternative(alternative)
    one, two = _pairs(x, y)
    found = grouping([len(one)], [clusters])
    members = _blocks(found.codes[0], found.n_clusters)
    if np.ptp(one) == 0.0 or np.ptp(two) == 0.0:
        return _constant()
    ranks = [_unit(stats.rankdata(side))[members] for side in (one, two)]
    # What cluster g of x has in common with the y of cluster h; a permutation sums G of these.
    table = np.einsum("gk,hk->gh", *ranks)
    orders, exact = _orders(found.n_clusters, n, seed)
    null = table[np.arange(found.n_clusters), orders].sum(axis=1)
    value = float(np.trace(table))
    view = {"greater": (value, null), "less": (-value, -null)}
    reached = count_at_least(*view.get(alternative, (abs(value), np.abs(null))))
    p = reached / len(null) if exact else (1 + reached) / (1 + len(null))
    return Significance(
        value, p, len(null), exact, "permuted clusters (rank correlation)", alternative
    )


def _pairs(
    x: Float[np.ndarray, " row"], y: Float[np.ndarray, " _"]
) -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"]]:
    require_paired(len(x), len(y), "y")
    return as_finite(x, "x", at_least=2), as_finite(y, "y", at_least=2)


def _constant() -> Unscored:
    return Unscored("one of the two scores is constant: it has no ranks to correlate")


def _unit(values: Float[np.ndarray, " row"]) -> Float[np.ndarray, " row"]:
    centred = values - values.mean()
    return np.asarray(centred / np.linalg.norm(centred))


def _blocks(codes: Int[np.ndarray, " row"], n_clusters: int) -> Int[np.ndarray, "cluster _"]:
    """Rows of each cluster, in the order in which they come."""
    sizes = np.bincount(codes, minlength=n_clusters)
    if len(set(sizes.tolist())) > 1:
        raise BadInputError(
            "Only clusters of equal size can exchange their rows.",
            got=f"{sizes.min()} to {sizes.max()} rows per cluster",
            fix="Average the rows of each cluster first.",
        )
    return np.argsort(codes, kind="stable").reshape(n_clusters, -1)


def _orders(n_clusters: int, n: int, seed: int) -> tuple[Int[np.ndarray, "draw cluster"], bool]:
    """Permutations of the clusters, and whether these are all of them."""
    if n_clusters < 20 and math.factorial(n_clusters) <= n:
        return np.array(list(permutations(range(n_clusters)))), True
    rng = np.random.default_rng(seed)
    return rng.permuted(np.tile(np.arange(n_clusters), (n, 1)), axis=1), False


def _weighted_spearman(
    x: Float[np.ndarray, " row"],
    y: Float[np.ndarray, " row"],
    weights: Float[np.ndarray, "draw row"],
) -> Float[np.ndarray, " draw"]:
    """Spearman of rows repeated `weights` times; NaN where a side is constant."""
    total = weights.sum(axis=1, keepdims=True)
    # The mean midrank of n rows is (n + 1) / 2 whatever the ties.
    one = _weighted_midranks(x, weights) - (total + 1) / 2
    two = _weighted_midranks(y, weights) - (total + 1) / 2
    squares = (weights * one**2).sum(axis=1) * (weights * two**2).sum(axis=1)
    product = (weights * one * two).sum(axis=1)
    varies = squares > 1e-9
    ratio = product / np.sqrt(np.where(varies, squares, 1.0))
    return np.asarray(np.where(varies, np.clip(ratio, -1.0, 1.0), np.nan))


def _weighted_midranks(
    values: Float[np.ndarray, " row"], weights: Float[np.ndarray, "draw row"]
) -> Float[np.ndarray, "draw row"]:
    """Midrank of each row in the sample that has each row `weights` times."""
    unique, level = np.unique(values, return_inverse=True)
    level = level.reshape(-1)
    order = np.argsort(level, kind="stable")
    starts = np.searchsorted(level[order], np.arange(len(unique)))
    held = np.add.reduceat(weights[:, order], starts, axis=1)
    return np.asarray((np.cumsum(held, axis=1) - held + (held + 1) / 2)[:, level])
