"""Standardized differences with intervals; offered by `means` too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import optimize, special

from trait_probe.errors import BadInputError
from trait_probe.evidence._arrays import as_finite, require_count, require_fraction
from trait_probe.evidence._draws import bootstrap_weights, both_or_neither, grouping
from trait_probe.evidence.bootstrap import expanded_levels
from trait_probe.evidence.effects import cohens_d, hedges_g, paired_d
from trait_probe.evidence.estimate import Estimate

_NO_VARIANCE = 1e-12  # below this share of the variance of all rows, a variance is rounding


def standardized_difference(
    positive: Float[np.ndarray, " positive"],
    negative: Float[np.ndarray, " negative"],
    *,
    positive_clusters: Sequence[str] | None = None,
    negative_clusters: Sequence[str] | None = None,
    corrected: bool,
    n_boot: int,
    seed: int,
    level: float = 0.95,
) -> Estimate:
    """Cohen's d, or Hedges' g where `corrected`, in SD, with a cluster bootstrap interval.

    Clusters of the positive side only, of the negative side only and of both sides are resampled
    among themselves, so that no side runs empty; the interval is `bootstrap`'s expanded
    percentile, with the levels of the smaller side's clusters. A resample without variance has no
    d: it counts as the most extreme one found, on the side of its difference (left out, it would
    narrow the interval), and `method` says how many there were.

    Args:
        positive_clusters, negative_clusters: cluster name per row; both or neither (each row is
            its own). A name on both sides is one cluster.
        n_boot: resamples, at least 100.

    Raises:
        BadInputError: fewer than two rows (or clusters) on a side, values not finite, or no
            variance in the full sample.
        MismatchError: not one cluster name per row.
    """
    require_fraction(level, "level")
    value = hedges_g(positive, negative) if corrected else cohens_d(positive, negative)
    sides = [as_finite(positive, "The positive scores"), as_finite(negative, "The negative scores")]
    clusters = both_or_neither(positive_clusters, negative_clusters)
    found = grouping([len(side) for side in sides], clusters)
    weights = bootstrap_weights(found.strata(), n_boot, seed)
    counts, means, squares = zip(
        *(
            _moments(weights, side - side.mean(), codes)
            for side, codes in zip(sides, found.codes, strict=True)
        ),
        strict=True,
    )
    df = counts[0] + counts[1] - 2
    pooled = (squares[0] + squares[1]) / df
    difference = float(sides[0].mean() - sides[1].mean()) + means[0] - means[1]
    scale = max(float(side.var()) for side in sides)
    resampled, degenerate = _ratios(difference, pooled, df, scale, corrected)
    low, high = np.quantile(resampled, expanded_levels(min(found.sides), level))
    n = len(sides[0]) + len(sides[1])
    method = _method("g" if corrected else "d", n_boot, int(degenerate.sum()))
    return Estimate(value, float(low), float(high), n, found.n_clusters, "SD", method, level)


def standardized_paired(
    differences: Float[np.ndarray, " row"],
    clusters: Sequence[str],
    *,
    corrected: bool,
    n_boot: int,
    seed: int,
    level: float = 0.95,
) -> Estimate:
    """d_z, the mean paired difference over its SD, or g_z where `corrected`; in SD.

    g_z is d_z times Hedges' (1981) correction for n - 1 degrees of freedom. The interval is
    `bootstrap`'s expanded percentile over clusters; resamples without variance count as in
    `standardized_difference`.

    Raises:
        BadInputError: fewer than two clusters (or, corrected, three rows), values not finite, or
            no variance in the full sample.
        MismatchError: `clusters` has not one entry per row.
    """
    require_fraction(level, "level")
    rows = as_finite(differences, "The paired differences", at_least=3 if corrected else 2)
    value = paired_d(rows)
    if corrected:
        value *= float(hedges_correction(np.array([len(rows) - 1.0]))[0])
    found = grouping([len(rows)], [clusters])
    weights = bootstrap_weights(found.strata(), n_boot, seed)
    counts, means, squares = _moments(weights, rows - rows.mean(), found.codes[0])
    df = counts - 1
    variance = squares / np.maximum(df, 1.0)
    resampled, degenerate = _ratios(
        float(rows.mean()) + means, variance, df, float(rows.var()), corrected
    )
    low, high = np.quantile(resampled, expanded_levels(found.n_clusters, level))
    method = _method("g_z" if corrected else "d_z", n_boot, int(degenerate.sum()))
    return Estimate(
        value, float(low), float(high), len(rows), found.n_clusters, "SD", method, level
    )


def noncentral_interval(
    d: float, n_positive: int, n_negative: int, level: float = 0.95
) -> tuple[float, float]:
    """Exact interval of Cohen's d for independent normal rows of equal variance, in SD.

    The noncentral t distributions that put the observed t at their upper and lower quantile
    (Steiger & Fouladi 1997).

    Raises:
        BadInputError: fewer than two rows on a side, `d` not finite, or `level` outside (0, 1).
    """
    require_count(min(n_positive, n_negative), 2, "The rows of each side")
    require_fraction(level, "level")
    as_finite(np.array([d], dtype=np.float64), "d")
    df = n_positive + n_negative - 2
    root = float(np.sqrt(n_positive * n_negative / (n_positive + n_negative)))
    # The lower tail falls as the noncentrality rises: its upper share gives the low end.
    ends = [_noncentrality(d * root, df, tail) for tail in ((1 + level) / 2, (1 - level) / 2)]
    return ends[0] / root, ends[1] / root


def _noncentrality(t: float, df: int, tail: float) -> float:
    """The noncentrality whose t distribution has `tail` of its mass below `t`."""

    def excess(noncentrality: float) -> float:
        return float(special.nctdtr(df, noncentrality, t)) - tail

    reach = 1.0 + abs(t)
    while excess(t - reach) < 0.0 or excess(t + reach) > 0.0:
        reach *= 2.0
    return float(optimize.brentq(excess, t - reach, t + reach))


def hedges_correction(df: Float[np.ndarray, " draw"]) -> Float[np.ndarray, " draw"]:
    """Hedges' (1981) exact factor for `df` degrees of freedom, in (0, 1); 0 at df = 1."""
    log_ratio = special.gammaln(df / 2) - special.gammaln((df - 1) / 2)
    return np.asarray(np.exp(log_ratio) / np.sqrt(df / 2))


def _moments(
    weights: Float[np.ndarray, "draw cluster"],
    rows: Float[np.ndarray, " row"],
    codes: Int[np.ndarray, " row"],
) -> tuple[Float[np.ndarray, " draw"], Float[np.ndarray, " draw"], Float[np.ndarray, " draw"]]:
    """Rows, mean and sum of squared deviations of each resample."""
    n_clusters = weights.shape[1]
    sums = np.stack(
        [
            np.bincount(codes, weights=power, minlength=n_clusters)
            for power in (np.ones_like(rows), rows, rows**2)
        ],
        axis=1,
    )
    counts, totals, squares = (weights @ sums).T
    means = totals / counts
    return counts, means, squares - counts * means**2


def _ratios(
    difference: Float[np.ndarray, " draw"],
    variance: Float[np.ndarray, " draw"],
    df: Float[np.ndarray, " draw"],
    scale: float,
    corrected: bool,
) -> tuple[Float[np.ndarray, " draw"], Bool[np.ndarray, " draw"]]:
    """Difference over SD per resample, and which have no SD (set to the extreme of the others)."""
    degenerate = variance <= _NO_VARIANCE * scale
    if degenerate.all():
        raise BadInputError(
            "No resample has variance within the groups.",
            got=f"{len(df)} resamples",
            fix="Add clusters, or report Unscored(reason).",
        )
    ratios = difference / np.sqrt(np.where(degenerate, 1.0, variance))
    if corrected:
        ratios = ratios * hedges_correction(np.maximum(df, 1.0))
    found = ratios[~degenerate]
    extremes = np.where(difference > 0, found.max(), found.min())
    extremes[np.abs(difference) <= _NO_VARIANCE * np.sqrt(scale)] = 0.0
    return np.where(degenerate, extremes, ratios), degenerate


def _method(name: str, n_boot: int, degenerate: int) -> str:
    note = f", {degenerate} without variance counted as extreme" if degenerate else ""
    return f"{name}, cluster bootstrap (expanded percentile), {n_boot} resamples{note}"
