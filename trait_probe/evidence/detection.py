"""A direction as a detector: what it catches at a threshold that spares benign prompts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from trait_probe.evidence._arrays import as_finite, require_fraction
from trait_probe.evidence._draws import bootstrap_weights, both_or_neither, grouping, in_chunks
from trait_probe.evidence.bootstrap import expanded_levels
from trait_probe.evidence.effects import tpr_at_fpr
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.means import clustered_means, t_quantile


def tpr_at_fpr_interval(
    positive: Float[np.ndarray, " positive"],
    negative: Float[np.ndarray, " negative"],
    fpr: float,
    *,
    positive_clusters: Sequence[str] | None = None,
    negative_clusters: Sequence[str] | None = None,
    n_boot: int,
    seed: int,
    level: float = 0.95,
) -> Estimate | Unscored:
    """`effects.tpr_at_fpr` with an interval that knows that the threshold was fitted too.

    Clusters of both sides are resampled (those on one side only among themselves, those on both
    together) and the threshold is chosen anew on each resample; the interval is `bootstrap`'s
    expanded percentile, with the levels of the smaller side's clusters. A threshold that rests on
    one or two negatives is a jumpy thing, and the interval is wide. Where all resamples agree
    (all or none caught) that would claim certainty; there Clopper & Pearson's (1934) interval
    over the positive clusters is used, and `method` says so. Unscored with fewer than `1 / fpr`
    negatives.

    Args:
        fpr: allowed share of flagged negatives, in (0, 1).
        positive_clusters, negative_clusters: cluster name per row; both or neither (each row is
            its own). A name on both sides is one cluster.

    Raises:
        BadInputError: fewer than two rows (or clusters) on a side, or scores not finite.
        MismatchError: not one cluster name per row.
    """
    require_fraction(fpr, "fpr")
    require_fraction(level, "level")
    above = as_finite(positive, "The positive scores", at_least=2)
    below = as_finite(negative, "The negative scores", at_least=2)
    clusters = both_or_neither(positive_clusters, negative_clusters)
    found = grouping([len(above), len(below)], clusters)
    value = _rate(above, below, fpr)
    if isinstance(value, Unscored):
        return value
    weights = bootstrap_weights(found.strata(), n_boot, seed)
    resampled = np.concatenate(
        [
            _resampled_rates(above, below, part[:, found.codes[0]], part[:, found.codes[1]], fpr)
            for part in in_chunks(weights, len(above) + len(below))
        ]
    )
    if np.ptp(resampled) == 0.0:
        low, high = _clopper_pearson(value, found.sides[0], level)
        method = "clopper-pearson over positive clusters (no variance over resamples)"
    else:
        low, high = np.quantile(resampled, expanded_levels(min(found.sides), level))
        method = f"cluster bootstrap (expanded percentile), threshold refitted, {n_boot} resamples"
    n = len(above) + len(below)
    return Estimate(
        value, float(low), float(high), n, found.n_clusters, f"TPR at FPR {fpr:g}", method, level
    )


def tprs_at_fpr(
    positive: Float[np.ndarray, "positive column"],
    negative: Float[np.ndarray, "negative column"],
    fpr: float,
) -> Float[np.ndarray, " column"]:
    """`effects.tpr_at_fpr` of each column; NaN with fewer than `1 / fpr` negatives.

    Raises:
        BadInputError: an empty class, scores not finite, or a rate outside (0, 1).
    """
    require_fraction(fpr, "fpr")
    above = as_finite(positive, "The positive scores")
    below = np.sort(as_finite(negative, "The negative scores"), axis=0)[::-1]
    if _too_few(len(below), fpr):
        return np.full(above.shape[1], np.nan)
    thresholds = below[int(np.floor(fpr * len(below) + 1e-9))]
    return np.asarray((above > thresholds).mean(axis=0))


def threshold_at_fpr(negative: Float[np.ndarray, " negative"], fpr: float) -> float | Unscored:
    """The score above which at most a share `fpr` of negatives lies: one of them, ties kept out.

    Unscored with fewer than `1 / fpr` negatives.

    Raises:
        BadInputError: no negatives, scores not finite, or a rate outside (0, 1).
    """
    require_fraction(fpr, "fpr")
    below = np.sort(as_finite(negative, "The negative scores"))[::-1]
    if reason := _too_few(len(below), fpr):
        return Unscored(reason)
    return float(below[int(np.floor(fpr * len(below) + 1e-9))])


def roc_points(
    positive: Float[np.ndarray, " positive"],
    negative: Float[np.ndarray, " negative"],
    *,
    most: int = 400,
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """False and true positive rates, both rising from 0 to 1, at most `most` points or so.

    Points are kept evenly over the ranks of the false positive rate and of its logarithm, so that
    small rates keep theirs.

    Raises:
        BadInputError: an empty class or scores not finite.
    """
    above = np.sort(as_finite(positive, "The positive scores"))
    below = np.sort(as_finite(negative, "The negative scores"))
    thresholds = np.unique(np.concatenate([above, below]))[::-1]
    false = 1.0 - np.searchsorted(below, thresholds, side="left") / len(below)
    true = 1.0 - np.searchsorted(above, thresholds, side="left") / len(above)
    false, true = np.concatenate([[0.0], false]), np.concatenate([[0.0], true])
    if len(false) > most:
        even = np.linspace(0, len(false) - 1, most // 2)
        early = np.geomspace(1, len(false), most // 2) - 1
        kept = np.unique(np.concatenate([even, early]).round().astype(np.int64))
        false, true = false[kept], true[kept]
    return false, true


def rates(
    positive: Float[np.ndarray, " positive"],
    negative: Float[np.ndarray, " negative"],
    fprs: Sequence[float] = (0.01, 0.05),
) -> dict[str, float | Unscored]:
    """`effects.tpr_at_fpr` by false positive rate ("0.01"); Unscored where negatives are too few.

    Raises:
        BadInputError: an empty class, scores not finite, or a rate outside (0, 1).
    """
    above = as_finite(positive, "The positive scores")
    below = as_finite(negative, "The negative scores")
    return {f"{fpr:g}": _rate(above, below, fpr) for fpr in fprs}


def false_positive_rate(
    threshold: float,
    benign: Float[np.ndarray, " row"],
    clusters: Sequence[str],
    *,
    level: float = 0.95,
) -> Estimate:
    """Share of benign rows that score above `threshold`, a number fixed on other data.

    Clopper & Pearson's (1934) interval. With clusters Korn & Graubard's (1998): the same for as
    many independent rows as would have the clustered variance, never more than there are; where
    the rate is 0 or 1 (or clusters agree exactly) there is no variance, and the clusters count.

    Raises:
        BadInputError: fewer than two clusters, scores or threshold not finite.
        MismatchError: `clusters` has not one entry per row.
    """
    require_fraction(level, "level")
    rows = as_finite(benign, "The benign scores")
    as_finite(np.array([threshold], dtype=np.float64), "The threshold")
    flagged = (rows > threshold).astype(np.float64)
    mean, se, n_clusters = clustered_means(flagged[:, None], clusters)
    value, n = float(mean[0]), len(rows)
    if n_clusters == n:
        low, high = _clopper_pearson(value, n, level)
        method = "clopper-pearson"
    else:
        effective = float(n_clusters)
        if se[0] > 0.0:
            # Fewer degrees of freedom than rows: the ratio of the t quantiles widens.
            ratio = t_quantile(level, n - 1) / t_quantile(level, n_clusters - 1)
            effective = min(float(n), value * (1.0 - value) / float(se[0]) ** 2 * ratio**2)
        low, high = _clopper_pearson(value, effective, level)
        method = f"clopper-pearson, {effective:.1f} effective rows (korn-graubard)"
    return Estimate(value, low, high, n, n_clusters, "share", method, level)


def _rate(
    above: Float[np.ndarray, " positive"], below: Float[np.ndarray, " negative"], fpr: float
) -> float | Unscored:
    require_fraction(fpr, "fpr")
    if reason := _too_few(len(below), fpr):
        return Unscored(reason)
    return tpr_at_fpr(above, below, fpr)


def _too_few(negatives: int, fpr: float) -> str | None:
    needed = int(np.ceil(1.0 / fpr - 1e-9))
    if negatives >= needed:
        return None
    return f"{negatives} negatives, {needed} needed for a false positive rate of {fpr}"


def _resampled_rates(
    above: Float[np.ndarray, " positive"],
    below: Float[np.ndarray, " negative"],
    positive_weights: Float[np.ndarray, "draw positive"],
    negative_weights: Float[np.ndarray, "draw negative"],
    fpr: float,
) -> Float[np.ndarray, " draw"]:
    """`tpr_at_fpr` with each row repeated as often as its weight; strictest where 1 / fpr lack."""
    falling = np.argsort(below)[::-1]
    reached = np.cumsum(negative_weights[:, falling], axis=1)
    allowed = np.floor(fpr * reached[:, -1] + 1e-9)
    thresholds = below[falling][np.argmax(reached > allowed[:, None], axis=1)]
    rising = np.argsort(above)
    caught = np.cumsum(positive_weights[:, rising], axis=1)
    total = caught[:, -1]
    missed: Int[np.ndarray, " draw"] = np.searchsorted(above[rising], thresholds, side="right")
    before = np.concatenate([np.zeros((len(total), 1)), caught], axis=1)
    return np.asarray(1.0 - before[np.arange(len(total)), missed] / total)


def _clopper_pearson(share: float, n: int | float, level: float) -> tuple[float, float]:
    """Beta quantiles for `share * n` of `n` rows; neither need be a whole number."""
    tail = (1.0 - level) / 2.0
    hits, misses = share * n, (1.0 - share) * n
    low = 0.0 if share <= 0.0 else float(special.betaincinv(hits, misses + 1.0, tail))
    high = 1.0 if share >= 1.0 else float(special.betaincinv(hits + 1.0, misses, 1.0 - tail))
    return low, high
