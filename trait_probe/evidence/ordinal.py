"""Whether a score rises over ordered levels (severities), with clusters kept whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from trait_probe.errors import BadInputError
from trait_probe.evidence._arrays import (
    as_finite,
    cluster_codes,
    count_at_least,
    require_count,
    require_fraction,
    require_same_length,
)
from trait_probe.evidence._draws import require_paired
from trait_probe.evidence.auc import auroc_interval
from trait_probe.evidence.bootstrap import expanded_levels
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.means import clustered_mean
from trait_probe.evidence.significance import Alternative, Significance, require_alternative

UNIT = "ordinal concordance"
"""Unit of `Trend.concordance`; `checks.null_value` knows that 0.5 means no trend."""

_CHANCE = 0.5
_ENTRIES = 2_000_000  # numbers of one table of draws held at once
_MOST_LEVELLED = 0.05  # share of resamples that may have rows of one level only


@dataclass(frozen=True)
class LevelMean:
    """Mean score of the rows of one level; Unscored with fewer than two clusters."""

    level: int
    n: int
    n_clusters: int
    mean: Estimate | Unscored

    def to_json(self) -> dict[str, object]:
        """Plain fields, strict JSON."""
        return {**vars(self), "mean": self.mean.to_json()}


@dataclass(frozen=True)
class Trend:
    """A score over ordered levels.

    Args:
        concordance: in [0, 1]; 0.5 means no trend, 1 that each level lies above the lower ones.
        significance: the permutation test of 0.5.
        levels: each level's mean, lowest level first.
    """

    concordance: Estimate
    significance: Significance
    levels: tuple[LevelMean, ...]

    def to_json(self) -> dict[str, object]:
        """Plain fields, strict JSON."""
        return {
            "concordance": self.concordance.to_json(),
            "significance": self.significance.to_json(),
            "levels": [found.to_json() for found in self.levels],
        }


@dataclass(frozen=True)
class _Table:
    """The rows in rising order of their scores; levels are numbered 0, 1, ... in their order."""

    scores: Float[np.ndarray, " row"]
    levels: Int[np.ndarray, " row"]
    codes: Int[np.ndarray, " row"]
    n_levels: int
    n_clusters: int


def ordinal_trend(
    scores: Float[np.ndarray, " row"],
    levels: Int[np.ndarray, " _"],
    clusters: Sequence[str],
    *,
    n_boot: int,
    seed: int,
    n_permutations: int,
    level: float = 0.95,
    alternative: Alternative = "greater",
    unit: str = "SD",
) -> Trend | Unscored:
    """Jonckheere and Terpstra's (1952, 1954) statistic as a share of the pairs it counts.

    The probability that, of two rows of different levels, the one of the higher level scores
    higher; ties count one half. With two levels it is the AUROC. Each pair counts once, so levels
    with many rows weigh more, and how far apart two levels are does not matter.

    The interval resamples whole clusters; it is `bootstrap`'s expanded percentile, with the
    clusters of the smaller side where the levels are parted most evenly. Resamples of one level
    are left out and counted in `method`. Where every pair agrees, resampling would claim
    certainty; there it is Newcombe's score interval of that parting.

    The test exchanges levels as `significance.relabelings` does labels: clusters whose rows are
    all of one level exchange it as wholes, among themselves; within a cluster of several levels
    its rows exchange theirs. So under the null clusters of one level must be exchangeable as
    wholes, their sizes included (sizes that rise with the level are no trend of the scores, but
    violate this), and so must the rows within each mixed cluster. Rows of different mixed
    clusters, or of mixed and other clusters, need not be. p = (1 + reached) / (1 + draws).

    Args:
        levels: whole numbers, of which only the order counts.
        n_boot: resamples, at least 100.
        n_permutations: relabelings of the test.
        alternative: "greater" where higher levels are predicted to score higher.
        unit: unit of the scores, for the means.

    Returns:
        Unscored for one level, constant scores, one cluster on a side of every parting, one
        level in more than 5 % of the resamples, or clusters that are all alike.

    Raises:
        BadInputError: fewer than two clusters, scores not finite, levels not whole numbers.
        MismatchError: `scores`, `levels` and `clusters` have not the same rows.
    """
    require_fraction(level, "level")
    require_count(n_boot, 100, "n_boot")
    require_count(n_permutations, 1, "n_permutations")
    require_alternative(alternative)
    distinct, table = _table(scores, levels, clusters)
    if table.n_levels < 2:
        return Unscored(f"all {len(scores)} rows have one level: there is no order to follow")
    if np.ptp(table.scores) == 0.0:
        return Unscored(f"all {len(scores)} scores are equal: they follow no order")
    concordance = _interval(table, n_boot, seed, level)
    if isinstance(concordance, Unscored):
        return concordance
    significance = _permutation(table, concordance.value, n_permutations, seed, alternative)
    names = np.asarray(clusters, dtype=np.str_)
    means = tuple(
        _level_mean(int(at), scores[levels == at], names[levels == at].tolist(), unit, level)
        for at in distinct
    )
    return Trend(concordance, significance, means)


def _table(
    scores: Float[np.ndarray, " row"], levels: Int[np.ndarray, " _"], clusters: Sequence[str]
) -> tuple[Int[np.ndarray, " level"], _Table]:
    rows = as_finite(scores, "The scores", at_least=2)
    require_paired(len(rows), len(levels), "levels")
    require_same_length(len(rows), clusters, "clusters")
    if not isinstance(levels, np.ndarray) or levels.dtype.kind not in "iu":
        raise BadInputError(
            "Levels are whole numbers, one per row.",
            got=getattr(levels, "dtype", type(levels).__name__),
            fix="Number the levels in their order and pass np.asarray(levels, dtype=int).",
        )
    codes, n_clusters = cluster_codes(clusters)
    require_count(n_clusters, 2, "The number of clusters")
    distinct, ranks = np.unique(levels, return_inverse=True)
    rising = np.argsort(rows, kind="stable")
    return distinct, _Table(
        rows[rising], ranks.reshape(-1)[rising], codes[rising], len(distinct), n_clusters
    )


def _level_mean(
    at: int, rows: Float[np.ndarray, " row"], clusters: list[str], unit: str, level: float
) -> LevelMean:
    n_clusters = len(set(clusters))
    mean: Estimate | Unscored = Unscored(f"{n_clusters} cluster at level {at}, 2 needed")
    if n_clusters > 1:
        mean = clustered_mean(rows, clusters, unit=unit, level=level)
    return LevelMean(at, len(rows), n_clusters, mean)


def _interval(table: _Table, n_boot: int, seed: int, level: float) -> Estimate | Unscored:
    upper, smaller = _most_even_parting(table)
    if smaller < 2:
        return Unscored("wherever the levels are parted, one side is a single cluster; 2 needed")
    n = len(table.scores)
    value = float(_weighted(table, np.ones((1, table.n_clusters)))[0])
    if value in (0.0, 1.0):
        sides = table.scores[upper], table.scores[~upper]
        above, below = (table.codes[side].astype(np.str_).tolist() for side in (upper, ~upper))
        found = auroc_interval(
            *sides, positive_clusters=above, negative_clusters=below, level=level
        )
        method = "newcombe score (every pair agrees), levels parted once"
        return Estimate(value, found.low, found.high, n, table.n_clusters, UNIT, method, level)
    draws = _resamples(table.n_clusters, n, n_boot, seed)
    resampled = np.concatenate([_weighted(table, weights) for weights in draws])
    scored = resampled[np.isfinite(resampled)]
    missing = n_boot - len(scored)
    if missing > _MOST_LEVELLED * n_boot:
        return Unscored(f"{missing} of {n_boot} resamples of clusters have one level only")
    if np.ptp(scored) == 0.0:
        return Unscored("the clusters are alike: resampling them leaves no variance")
    low, high = map(float, np.quantile(scored, expanded_levels(smaller, level)))
    note = f", {missing} of one level left out" if missing else ""
    method = f"cluster bootstrap (expanded percentile), {n_boot} resamples{note}"
    return Estimate(value, low, high, n, table.n_clusters, UNIT, method, level)


def _most_even_parting(table: _Table) -> tuple[np.ndarray, int]:
    """The rows above a cut between levels, and the clusters on its smaller side."""
    cuts = [table.levels >= cut for cut in range(1, table.n_levels)]
    sides = [min(len(np.unique(table.codes[side])) for side in (upper, ~upper)) for upper in cuts]
    best = int(np.argmax(sides))
    return cuts[best], sides[best]


def _resamples(
    n_clusters: int, n_rows: int, n_boot: int, seed: int
) -> Iterator[Float[np.ndarray, "draw cluster"]]:
    """How often each resample of `bootstrap.cluster_bootstrap` draws each cluster, in slices."""
    rng = np.random.default_rng(seed)
    for size in _sizes(n_boot, n_rows):
        drawn = rng.integers(n_clusters, size=(size, n_clusters))
        drawn += n_clusters * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * n_clusters)
        yield counts.reshape(size, n_clusters).astype(np.float64)


def _sizes(n_draws: int, n_rows: int) -> list[int]:
    most = max(1, _ENTRIES // n_rows)
    return [min(most, n_draws - start) for start in range(0, n_draws, most)]


def _weighted(
    table: _Table, weights: Float[np.ndarray, "draw cluster"]
) -> Float[np.ndarray, " draw"]:
    """The concordance with each cluster repeated `weights` times; NaN for rows of one level."""
    found = np.zeros((2, len(weights)))
    for at in range(1, table.n_levels):
        lower, upper = table.levels < at, table.levels == at
        below, above = (weights[:, table.codes[side]] for side in (lower, upper))
        found += _wins(below, above, (table.scores[lower], table.scores[upper]))
    wins, pairs = found
    return np.asarray(np.where(pairs > 0.0, wins / np.maximum(pairs, 1.0), np.nan))


def _wins(
    below: Float[np.ndarray, "draw lower"],
    above: Float[np.ndarray, "draw upper"],
    scores: tuple[Float[np.ndarray, " lower"], Float[np.ndarray, " upper"]],
) -> Float[np.ndarray, "two draw"]:
    """Weighted pairs in which the upper row scores higher (ties one half), and all pairs."""
    counted = np.zeros((len(below), below.shape[1] + 1))
    np.cumsum(below, axis=1, out=counted[:, 1:])
    strictly, tied = (np.searchsorted(*scores, side) for side in ("left", "right"))
    beaten = np.take(counted, strictly, axis=1) + np.take(counted, tied, axis=1)
    wins = 0.5 * np.einsum("dr,dr->d", above, beaten)
    return np.stack([wins, counted[:, -1] * above.sum(axis=1)])


def _permutation(
    table: _Table, value: float, n: int, seed: int, alternative: Alternative
) -> Significance:
    null = np.concatenate([_relevelled(table, drawn) for drawn in _relevelings(table, n, seed)])
    distance = value - _CHANCE, null - _CHANCE
    view = {"greater": distance, "less": (-distance[0], -distance[1])}
    reached = count_at_least(*view.get(alternative, (abs(distance[0]), np.abs(distance[1]))))
    method = f"permuted levels of clusters ({UNIT})"
    return Significance(value, (1 + reached) / (1 + n), n, False, method, alternative)


def _relevelings(table: _Table, n: int, seed: int) -> Iterator[Int[np.ndarray, "draw row"]]:
    """`n` levelings as likely as the one there is, a few at a time."""
    lowest = np.full(table.n_clusters, table.n_levels)
    highest = np.zeros(table.n_clusters, dtype=np.int64)
    np.minimum.at(lowest, table.codes, table.levels)
    np.maximum.at(highest, table.codes, table.levels)
    mixed = (lowest < highest)[table.codes]
    # What is exchanged: rows of mixed clusters (in their cluster), else clusters (in one pool).
    names = np.where(mixed, table.n_clusters + np.arange(len(mixed)), table.codes)
    _, first, unit = np.unique(names, return_index=True, return_inverse=True)
    pool = np.where(mixed[first], table.codes[first], table.n_clusters)
    order = np.argsort(pool, kind="stable")
    place = np.argsort(order)[unit.reshape(-1)]
    held, pools = table.levels[first[order]], pool[order]
    rng = np.random.default_rng(seed)
    for size in _sizes(n, len(table.levels)):
        keys = rng.random((size, len(pools))) + pools
        yield held[np.argsort(keys, axis=1)][:, place]


def _relevelled(table: _Table, levels: Int[np.ndarray, "draw row"]) -> Float[np.ndarray, " draw"]:
    """The concordance under each leveling."""
    found = np.zeros((2, len(levels)))
    for at in range(1, table.n_levels):
        lower, upper = (levels < at).astype(np.float64), (levels == at).astype(np.float64)
        found += _wins(lower, upper, (table.scores, table.scores))
    return np.asarray(found[0] / found[1])
