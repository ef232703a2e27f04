"""Tests of one number: t, sign flips and label permutations that keep clusters whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special, stats

from trait_probe.errors import BadInputError, nearest
from trait_probe.evidence._arrays import (
    as_finite,
    cluster_codes,
    count_at_least,
    require_count,
    require_same_length,
)
from trait_probe.evidence._draws import cluster_sums, require_paired, sign_flips
from trait_probe.evidence.estimate import Unscored
from trait_probe.evidence.means import clustered_means

Alternative = Literal["greater", "less", "two-sided"]


@dataclass(frozen=True)
class Significance:
    """A test of one null hypothesis.

    Args:
        statistic: on the data as they are; finite.
        p: in (0, 1].
        n: what the p value was counted on: draws of a permutation test, clusters of a t test.
        exact: whether all relabelings that exist were counted.
        method: how, in words.
        alternative: side of the alternative.

    Raises:
        BadInputError: a field is outside its range.
    """

    statistic: float
    p: float
    n: int
    exact: bool
    method: str
    alternative: Alternative = "greater"

    def __post_init__(self) -> None:
        if not 0.0 < self.p <= 1.0:
            raise BadInputError(
                "A p value must lie above 0, up to 1.",
                got=self.p,
                fix="Count the data themselves among the draws: (1 + reached) / (1 + draws).",
            )
        if not np.isfinite(self.statistic):
            raise BadInputError(
                "A test statistic must be finite.",
                got=self.statistic,
                fix="Return Unscored(reason) where the statistic does not exist.",
            )
        require_count(self.n, 1, "n")

    def to_json(self) -> dict[str, object]:
        """Plain fields, strict JSON."""
        return {
            "statistic": float(self.statistic),
            "p": float(self.p),
            "n": int(self.n),
            "exact": bool(self.exact),
            "method": self.method,
            "alternative": self.alternative,
        }


def paired_t(
    differences: Float[np.ndarray, " row"],
    clusters: Sequence[str],
    *,
    alternative: Alternative = "greater",
) -> Significance | Unscored:
    """Student t test that the mean difference is 0, with `means.clustered_mean`'s variance.

    Degrees of freedom: clusters minus 1. Without variance between the clusters p is 1 where the
    mean is 0 too, else there is no scale: Unscored. A p value below the smallest float is that
    float, not 0.

    Raises:
        BadInputError: fewer than two clusters, or differences not finite.
        MismatchError: `clusters` has not one entry per row.
    """
    require_alternative(alternative)
    means, errors, n_clusters = clustered_means(differences[:, None], clusters)
    mean, se = float(means[0]), float(errors[0])
    method = "student t, clustered"
    if se == 0.0 and abs(mean) > 1e-12 * float(np.abs(differences).max()):
        return Unscored(f"{n_clusters} clusters do not vary: there is no scale to compare on")
    if se == 0.0:
        return Significance(0.0, 1.0, n_clusters, False, method, alternative)
    t, df = mean / se, n_clusters - 1
    p = {
        "greater": float(special.stdtr(df, -t)),
        "less": float(special.stdtr(df, t)),
        "two-sided": 2.0 * float(special.stdtr(df, -abs(t))),
    }[alternative]
    smallest = float(np.finfo(np.float64).tiny)
    return Significance(t, max(p, smallest), n_clusters, False, method, alternative)


def sign_flip(
    differences: Float[np.ndarray, " row"],
    clusters: Sequence[str],
    *,
    n: int,
    seed: int,
    alternative: Alternative = "greater",
) -> Significance:
    """Test that the mean difference is 0 by flipping the signs of whole clusters.

    Exact where, under the null, a cluster's differences are as likely as their negatives
    (symmetry, Fisher 1935). All 2^G flips of G clusters are counted where there are at most `n`
    (p = share of them that reach the data, themselves included); else `n` random ones, p =
    (1 + reached) / (1 + n) (Phipson & Smyth 2010). The statistic is the mean over rows.

    Raises:
        BadInputError: no rows, differences not finite, or `n` below 1.
        MismatchError: `clusters` has not one entry per row.
    """
    rows = as_finite(differences, "The differences")
    require_same_length(len(rows), clusters, "clusters")
    codes, n_clusters = cluster_codes(clusters)
    signs, exact = sign_flips(n_clusters, n, seed)
    sums = cluster_sums(rows[:, None], codes, n_clusters)[:, 0]
    null = signs @ sums / len(rows)
    mean = float(rows.mean())
    reached = _reached(mean, null, alternative)
    p = reached / len(null) if exact else (1 + reached) / (1 + len(null))
    return Significance(mean, p, len(null), exact, "sign flips of clusters", alternative)


def relabelings(
    labels: Bool[np.ndarray, " row"],
    clusters: Sequence[str],
    *,
    n: int,
    seed: int,
    blocks: Sequence[str] | None = None,
) -> Bool[np.ndarray, "draw row"]:
    """`n` random relabelings that are as likely as the labels if labels mean nothing.

    Clusters with one label (a prompt and its tokens) exchange their labels whole among
    themselves; in clusters with both labels (trigger and control of one carrier) rows exchange
    theirs inside the cluster. So under the null the clusters of one label must be exchangeable as
    wholes, their sizes included, and the rows within a mixed cluster too. The labels themselves
    may come up by chance.

    Args:
        blocks: rows of one block (the phrasings of one request) are no more independent than one
            row: inside a mixed cluster they keep one label between them. None: each row is its own.

    Raises:
        BadInputError: all labels are equal, so that only the identity exists, or a block has both.
        MismatchError: `clusters` or `blocks` has not one entry per row.
    """
    require_count(n, 1, "n")
    require_same_length(len(labels), clusters, "clusters")
    if labels.all() or not labels.any():
        raise BadInputError(
            "A relabeling needs rows of both labels.",
            got=f"{int(labels.sum())} of {len(labels)} rows are positive",
            fix="Add rows of the other label, or report Unscored(reason).",
        )
    codes, n_clusters = cluster_codes(clusters)
    sizes = np.bincount(codes, minlength=n_clusters)
    positives = np.bincount(codes, weights=labels, minlength=n_clusters)
    mixed = (positives > 0) & (positives < sizes)
    # What is exchanged: blocks of mixed clusters (in their cluster), else clusters (in one pool).
    unit_names = np.where(mixed[codes], n_clusters + _block_codes(labels, codes, blocks), codes)
    _, first, unit = np.unique(unit_names, return_index=True, return_inverse=True)
    pool = np.where(mixed[codes[first]], codes[first], n_clusters)
    keys = np.random.default_rng(seed).random((n, len(first))) + pool
    ordered = labels[first][np.argsort(pool, kind="stable")]
    drawn = np.empty((n, len(first)), dtype=np.bool_)
    np.put_along_axis(drawn, np.argsort(keys, axis=1), np.broadcast_to(ordered, keys.shape), axis=1)
    return drawn[:, unit.reshape(-1)]


def _block_codes(
    labels: Bool[np.ndarray, " row"],
    codes: Int[np.ndarray, " row"],
    blocks: Sequence[str] | None,
) -> Int[np.ndarray, " row"]:
    if blocks is None:
        return np.arange(len(labels))
    require_same_length(len(labels), blocks, "blocks")
    names = [f"{code} {block}" for code, block in zip(codes, blocks, strict=True)]
    found, n_blocks = cluster_codes(names)
    sizes = np.bincount(found, minlength=n_blocks)
    positives = np.bincount(found, weights=labels, minlength=n_blocks)
    if ((positives > 0) & (positives < sizes)).any():
        raise BadInputError(
            "Rows of one block have one label.",
            got=sorted({blocks[int(i)] for i in np.flatnonzero((positives[found] > 0) & ~labels)})[
                :5
            ],
            fix="Name the blocks by request and label.",
        )
    return found


def permutation(
    scores: Float[np.ndarray, " row"],
    labels: Bool[np.ndarray, " _"],
    clusters: Sequence[str],
    *,
    statistic: Literal["auroc", "mean difference"],
    n: int,
    seed: int,
    alternative: Alternative = "greater",
    blocks: Sequence[str] | None = None,
) -> Significance:
    """Test that labels say nothing about scores, by `relabelings`; p = (1 + reached) / (1 + n).

    Two-sided counts distances from AUROC 0.5, or from a difference of 0.

    Raises:
        BadInputError: one label only, or scores not finite.
        MismatchError: not one label and one cluster per row.
    """
    rows = as_finite(scores, "The scores")
    require_paired(len(rows), len(labels), "labels")
    every = np.concatenate(
        [labels[None, :], relabelings(labels, clusters, n=n, seed=seed, blocks=blocks)]
    )
    if statistic == "auroc":
        values = aurocs_of_labels(rows[:, None], every)[:, 0]
        centre = 0.5
    else:
        values, centre = _mean_differences(rows, every), 0.0
    reached = _reached(float(values[0]) - centre, values[1:] - centre, alternative)
    method = f"permuted labels of clusters ({statistic})"
    return Significance(float(values[0]), (1 + reached) / (1 + n), n, False, method, alternative)


def aurocs_of_labels(
    scores: Float[np.ndarray, "row look"], labels: Bool[np.ndarray, "draw row"]
) -> Float[np.ndarray, "draw look"]:
    """AUROC of each look under each labeling: sums of midranks, one matrix product."""
    ranks = stats.rankdata(scores, axis=0)
    m = labels.sum(axis=1).astype(np.float64)[:, None]
    wins = labels.astype(np.float64) @ ranks - m * (m + 1) / 2
    return np.asarray(wins / (m * (len(scores) - m)))


def _mean_differences(
    rows: Float[np.ndarray, " row"], labels: Bool[np.ndarray, "draw row"]
) -> Float[np.ndarray, " draw"]:
    m = labels.sum(axis=1).astype(np.float64)
    centred = rows - rows.mean()
    above = labels.astype(np.float64) @ centred
    # The centred rows sum to zero: what the positives have, the negatives lack.
    return np.asarray(above / m + above / (len(rows) - m))


def require_alternative(alternative: str) -> None:
    """Raise for a side that there is not: a misspelt one must not fall through to another."""
    sides = get_args(Alternative)
    if alternative not in sides:
        raise BadInputError(
            "There is no such alternative.",
            got=alternative,
            valid=nearest(alternative, sides),
            fix='Take "greater" where the statement predicts a rise.',
        )


def _reached(value: float, null: Float[np.ndarray, " draw"], alternative: Alternative) -> int:
    require_alternative(alternative)
    if alternative == "greater":
        return count_at_least(value, null)
    if alternative == "less":
        return count_at_least(-value, -null)
    return count_at_least(abs(value), np.abs(null))
