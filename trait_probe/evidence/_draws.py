"""Random draws that keep clusters whole: bootstrap weights, sign flips, sums by cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence._arrays import cluster_codes, require_count, require_same_length

_ENTRIES = 2_000_000  # numbers of one table of draws held at once


def require_paired(n: int, other: int, what: str) -> None:
    """Raise unless two arrays of `n` and `other` rows can be of the same rows."""
    if n != other:
        raise MismatchError(
            f"{what} must have one entry per row.",
            got=f"{other} entries for {n} rows",
            fix="Build both from the same table.",
        )


def cluster_sums(
    rows: Float[np.ndarray, "row look"], codes: Int[np.ndarray, " row"], n_clusters: int
) -> Float[np.ndarray, "cluster look"]:
    """Sum of the rows of each cluster, in the order of the cluster numbers."""
    order = np.argsort(codes, kind="stable")
    if n_clusters == len(rows):
        return rows[order]
    starts = np.searchsorted(codes[order], np.arange(n_clusters))
    return np.asarray(np.add.reduceat(rows[order], starts, axis=0))


def sign_flips(
    n_clusters: int, n: int, seed: int
) -> tuple[Float[np.ndarray, "draw cluster"], bool]:
    """Signs for each cluster, and whether these are all 2^G of them (then the first is all +1).

    All are enumerated where there are at most `n`; else `n` are drawn.
    """
    require_count(n, 1, "n")
    if n_clusters < 63 and 2**n_clusters <= n:
        bits = np.arange(2**n_clusters)[:, None] >> np.arange(n_clusters)
        return 1.0 - 2.0 * (bits & 1), True
    bits = np.random.default_rng(seed).integers(0, 2, (n, n_clusters), dtype=np.int8)
    return 1.0 - 2.0 * bits, False


def bootstrap_weights(
    strata: Int[np.ndarray, " cluster"], n_boot: int, seed: int
) -> Float[np.ndarray, "draw cluster"]:
    """How often each resample draws each cluster, with replacement within each stratum.

    With one stratum these are the very resamples of `bootstrap.cluster_bootstrap`.

    Raises:
        BadInputError: fewer than 100 resamples.
    """
    require_count(n_boot, 100, "n_boot")
    rng = np.random.default_rng(seed)
    weights = np.empty((n_boot, len(strata)))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        k = len(members)
        drawn = rng.integers(k, size=(n_boot, k)) + k * np.arange(n_boot)[:, None]
        weights[:, members] = np.bincount(drawn.ravel(), minlength=n_boot * k).reshape(n_boot, k)
    return weights


def in_chunks(
    draws: Float[np.ndarray, "draw cluster"], n_columns: int
) -> Iterator[Float[np.ndarray, "_ cluster"]]:
    """`draws` in slices, so that a table of a slice by `n_columns` stays small."""
    size = max(1, _ENTRIES // max(1, n_columns))
    for start in range(0, len(draws), size):
        yield draws[start : start + size]


@dataclass(frozen=True)
class Grouping:
    """Cluster numbers of the rows of several groups; a name in two groups is one cluster.

    Args:
        codes: cluster number of each row, group by group.
        n_clusters: clusters over all groups.
        sides: clusters of each group.
    """

    codes: tuple[Int[np.ndarray, " _"], ...]
    n_clusters: int
    sides: tuple[int, ...]

    def strata(self) -> Int[np.ndarray, " cluster"]:
        """Which groups each cluster has rows in, as a number.

        Resampling within these strata keeps the clusters of each group as many as they are.
        """
        strata = np.zeros(self.n_clusters, dtype=np.int64)
        for j, codes in enumerate(self.codes):
            strata[np.unique(codes)] += 2**j
        return strata


def grouping(sizes: Sequence[int], clusters: Sequence[Sequence[str]] | None) -> Grouping:
    """The clusters of groups of rows; without names each row is a cluster of its own.

    Raises:
        BadInputError: a group with fewer than two clusters.
        MismatchError: not one name per row.
    """
    if clusters is None:
        codes, n_clusters = np.arange(sum(sizes), dtype=np.int64), sum(sizes)
    else:
        for size, names in zip(sizes, clusters, strict=True):
            require_same_length(size, names, "The clusters of each group")
        codes, n_clusters = cluster_codes([name for names in clusters for name in names])
    parts = tuple(np.split(codes, np.cumsum(sizes)[:-1]))
    sides = tuple(len(np.unique(part)) for part in parts)
    if min(sides) < 2:
        raise BadInputError(
            "A clustered interval needs at least two clusters in each group.",
            got=sides,
            fix="Add prompts from other clusters, or report Unscored(reason).",
        )
    return Grouping(parts, n_clusters, sides)


def both_or_neither(
    positive: Sequence[str] | None, negative: Sequence[str] | None
) -> tuple[Sequence[str], Sequence[str]] | None:
    """The cluster names of both classes, or None.

    Raises:
        BadInputError: names for one class only.
    """
    if positive is None and negative is None:
        return None
    if positive is None or negative is None:
        raise BadInputError(
            "Clusters must be given for both classes or for neither.",
            got={"positive": positive is not None, "negative": negative is not None},
            fix="Pass positive_clusters and negative_clusters together.",
        )
    return positive, negative
