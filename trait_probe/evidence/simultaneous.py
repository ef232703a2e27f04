"""Many looks at once: p values and bands that hold for all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import special, stats

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence._arrays import as_finite, cluster_codes, require_count, require_fraction
from trait_probe.evidence._draws import Grouping, cluster_sums, grouping, require_paired, sign_flips
from trait_probe.evidence.auc import auroc_interval
from trait_probe.evidence.means import clustered_means, t_quantile
from trait_probe.evidence.multiplicity import max_statistic_p
from trait_probe.evidence.significance import (
    Alternative,
    aurocs_of_labels,
    relabelings,
    require_alternative,
)


@dataclass(frozen=True)
class Simultaneous:
    """Looks with bands that cover all of them at once, and p values adjusted for all of them.

    Args:
        value, low, high: per look, finite, low <= high; the band is two-sided.
        p: family-wise adjusted, in (0, 1].
        level: chance that the bands cover every look.
        n_draws: draws of the null.
        method: how, in words.

    Raises:
        MismatchError: not one number per look.
        BadInputError: a number outside its range.
    """

    value: Float[np.ndarray, " look"]
    low: Float[np.ndarray, " _"]
    high: Float[np.ndarray, " _"]
    p: Float[np.ndarray, " _"]
    level: float
    n_draws: int
    method: str

    def __post_init__(self) -> None:
        lengths = [len(part) for part in (self.value, self.low, self.high, self.p)]
        if len(set(lengths)) != 1:
            raise MismatchError(
                "value, low, high and p must have one number per look.",
                got=lengths,
                fix="Compute them together.",
            )
        for part in (self.value, self.low, self.high, self.p):
            as_finite(part, "Simultaneous looks")
        if (self.low > self.high).any() or not ((self.p > 0) & (self.p <= 1)).all():
            raise BadInputError(
                "Simultaneous needs low <= high and p in (0, 1].",
                got={"widest": float((self.high - self.low).min()), "p": float(self.p.min())},
                fix="Use simultaneous_means or simultaneous_aurocs.",
            )
        require_fraction(self.level, "level")
        require_count(self.n_draws, 1, "n_draws")

    @property
    def looks(self) -> int:
        """How many there were."""
        return len(self.value)

    def to_json(self) -> dict[str, object]:
        """Plain fields, strict JSON."""
        return {
            "value": self.value.tolist(),
            "low": self.low.tolist(),
            "high": self.high.tolist(),
            "p": self.p.tolist(),
            "level": float(self.level),
            "looks": self.looks,
            "n_draws": int(self.n_draws),
            "method": self.method,
        }


def simultaneous_means(
    values: Float[np.ndarray, "row look"],
    clusters: Sequence[str],
    *,
    n: int,
    seed: int,
    level: float = 0.95,
    alternative: Alternative = "two-sided",
) -> Simultaneous:
    """Means of all looks: single-step max-t p values, and bands value +- c se.

    The statistic of a look is its clustered t (`means.clustered_means`). For p whole clusters
    change sign, all looks together, and t is computed anew in each draw; p is how often the
    largest of all looks reaches it (Westfall & Young 1993), exact where clusters are symmetric
    around 0 under the null. For the bands the sums of clusters are centred first (wild cluster
    bootstrap with Rademacher weights, Cameron, Gelbach & Miller 2008); c is the quantile of the
    largest |t|, at least Student's of a single look. All 2^G flips are used where at most `n`.

    A look without variance between clusters has no t: it is left out of the maximum, its band has
    width zero and its p is 1, since nothing says how far it would vary.

    Args:
        alternative: side of the p values; the bands are two-sided always.

    Raises:
        BadInputError: fewer than two clusters, values not finite, or `n` below 1.
        MismatchError: `clusters` has not one entry per row.
    """
    require_fraction(level, "level")
    mean, se, n_clusters = clustered_means(values, clusters)
    codes, _ = cluster_codes(clusters)
    signs, exact = sign_flips(n_clusters, n, seed)
    flips = signs[1:] if exact else signs  # the first of all flips is the data themselves
    scored = se > 0
    p, half = np.ones(len(mean)), np.zeros(len(mean))
    if scored.any():
        rows = values[:, scored].astype(np.float64)
        sizes = np.bincount(codes).astype(np.float64)
        sums = cluster_sums(rows, codes, n_clusters)
        observed = _flipped_t(sums, sizes, np.ones((1, n_clusters)))[0]
        null = _flipped_t(sums, sizes, flips)
        p[scored] = max_statistic_p(_oriented(observed, alternative), _oriented(null, alternative))
        centred = _flipped_t(sums - sizes[:, None] * mean[scored], sizes, signs)
        widest = _upper_quantile(np.abs(centred).max(axis=1), level)
        half[scored] = max(widest, t_quantile(level, n_clusters - 1)) * se[scored]
    which = f"all {len(signs)}" if exact else f"{len(signs)}"
    method = f"max t over {which} sign flips of {n_clusters} clusters; wild cluster bands"
    return Simultaneous(mean, mean - half, mean + half, p, level, len(signs), method)


def _flipped_t(
    sums: Float[np.ndarray, "cluster look"],
    sizes: Float[np.ndarray, " cluster"],
    signs: Float[np.ndarray, "draw cluster"],
) -> Float[np.ndarray, "draw look"]:
    """Clustered t of each look with the clusters' sums multiplied by the signs."""
    n_clusters, n = len(sizes), sizes.sum()
    mean = signs @ sums / n
    cross = signs @ (sums * sizes[:, None])
    squares = (sums**2).sum(axis=0)
    spread = squares - 2 * mean * cross + mean**2 * (sizes**2).sum()
    # A flip may leave no variance (all clusters equal but for their sign): t is huge, not infinite.
    variance = n_clusters / (n_clusters - 1) * np.maximum(spread, 1e-12 * squares) / n**2
    return np.asarray(mean / np.sqrt(variance))


def simultaneous_aurocs(
    scores: Float[np.ndarray, "row look"],
    labels: Bool[np.ndarray, " _"],
    clusters: Sequence[str],
    *,
    n: int,
    seed: int,
    level: float = 0.95,
    alternative: Alternative = "greater",
    blocks: Sequence[str] | None = None,
) -> Simultaneous:
    """AUROCs of all looks: max-AUROC p values, and bands inside [0, 1].

    p: how often the largest AUROC of all looks under one of `significance.relabelings` reaches
    the look's (two-sided: the largest distance from 0.5). Bands: DeLong's components summed by
    cluster, times one random normal number per cluster, give the largest deviation of all looks
    (multiplier bootstrap, Chernozhukov, Chetverikov & Kato 2013), over the root of a chi square
    as Student t has it for few clusters. They are laid on the logit scale as in
    `auc.auroc_interval`. A look without variance (perfect separation) is left out of that
    maximum; its band is that function's interval at level 1 - (1 - level) / looks (Bonferroni).

    Args:
        labels: True for the rows that should score higher.
        alternative: side of the p values; the bands are two-sided always.
        blocks: rows that keep one label between them, as in `significance.relabelings`.

    Raises:
        BadInputError: fewer than two rows or clusters of a label, or scores not finite.
        MismatchError: not one label and one cluster per row.
    """
    require_fraction(level, "level")
    rows = as_finite(scores, "The scores", at_least=4)
    require_paired(len(rows), len(labels), "labels")
    require_paired(len(rows), len(clusters), "clusters")
    names = np.asarray(clusters, dtype=np.str_)
    sides = names[labels].tolist(), names[~labels].tolist()
    found = grouping([len(side) for side in sides], sides)
    value = aurocs_of_labels(rows, labels[None, :])[0]
    null = aurocs_of_labels(rows, relabelings(labels, clusters, n=n, seed=seed, blocks=blocks))
    p = max_statistic_p(_oriented(value - 0.5, alternative), _oriented(null - 0.5, alternative))
    sums = _component_sums(rows[labels], rows[~labels], value, found)
    low, high = _auroc_bands(value, sums, found, n, seed, level)
    for look in np.flatnonzero((sums**2).sum(axis=0) <= 1e-24):
        one = auroc_interval(
            rows[labels, look],
            rows[~labels, look],
            positive_clusters=sides[0],
            negative_clusters=sides[1],
            level=1.0 - (1.0 - level) / len(value),
        )
        low[look], high[look] = one.low, one.high
    method = f"max AUROC over {n} relabelings; multiplier bootstrap bands (logit)"
    return Simultaneous(value, low, high, p, level, n, method)


def _component_sums(
    above: Float[np.ndarray, "positive look"],
    below: Float[np.ndarray, "negative look"],
    value: Float[np.ndarray, " look"],
    found: Grouping,
) -> Float[np.ndarray, "cluster look"]:
    """What each cluster adds to the AUROC's error: DeLong's components, centred and summed."""
    m, n = len(above), len(below)
    ranks = stats.rankdata(np.concatenate([above, below]), axis=0)
    v10 = (ranks[:m] - stats.rankdata(above, axis=0)) / n - value
    v01 = 1.0 - (ranks[m:] - stats.rankdata(below, axis=0)) / m - value
    influence = np.concatenate([v10 / m, v01 / n])
    return cluster_sums(influence, np.concatenate(found.codes), found.n_clusters)


def _auroc_bands(
    value: Float[np.ndarray, " look"],
    sums: Float[np.ndarray, "cluster look"],
    found: Grouping,
    n: int,
    seed: int,
    level: float,
) -> tuple[Float[np.ndarray, " look"], Float[np.ndarray, " look"]]:
    """Ends of the bands where the look has variance; the value itself where it has none."""
    low, high = value.copy(), value.copy()
    size = np.sqrt((sums**2).sum(axis=0))
    scored = size > 1e-12
    if not scored.any():
        return low, high
    k = min(found.sides)
    # Its own stream: the relabelings used `seed` itself.
    rng = np.random.default_rng([seed, 1])
    deviations = np.abs(rng.standard_normal((n, len(sums))) @ (sums[:, scored] / size[scored]))
    student = deviations.max(axis=1) / np.sqrt(rng.chisquare(k - 1, n) / (k - 1))
    c = max(_upper_quantile(student, level), t_quantile(level, k - 1))
    inside = value[scored]
    half = c * size[scored] * np.sqrt(k / (k - 1)) / (inside * (1.0 - inside))
    low[scored] = special.expit(special.logit(inside) - half)
    high[scored] = special.expit(special.logit(inside) + half)
    return low, high


def _upper_quantile(largest: Float[np.ndarray, " draw"], level: float) -> float:
    """The draw that a share `level` of them does not exceed, the data counted as one draw."""
    rank = min(len(largest), int(np.ceil(level * (len(largest) + 1))))
    return float(np.sort(largest)[rank - 1])


def _oriented(values: Float[np.ndarray, ...], alternative: Alternative) -> Float[np.ndarray, ...]:
    """Statistics as larger is more extreme."""
    require_alternative(alternative)
    if alternative == "two-sided":
        return np.asarray(np.abs(values))
    return np.asarray(-values if alternative == "less" else values)
