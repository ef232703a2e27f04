"""How large one mean is as a share of another, with an interval that knows when there is none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from trait_probe.evidence._arrays import as_finite, require_same_length
from trait_probe.evidence.bootstrap import cluster_bootstrap
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.means import clustered_mean, clustered_means, t_quantile


def ratio_of_means(
    part: Float[np.ndarray, " row"],
    whole: Float[np.ndarray, " row"],
    clusters: Sequence[str],
    *,
    n_boot: int,
    seed: int,
    unit: str,
) -> Estimate | Unscored:
    """Mean of `part` over mean of `whole`, with `bootstrap`'s interval over clusters.

    Unscored where the 95 % interval of the whole's mean holds 0, or a resample's whole is 0 or of
    the other sign: no interval of such ratios means anything (Fieller 1954).

    Raises:
        BadInputError: fewer than two clusters, or rows not finite.
        MismatchError: not one entry per row.
    """
    above, below = as_finite(part, "The part"), as_finite(whole, "The whole")
    require_same_length(len(above), clusters, "clusters")
    require_same_length(len(below), clusters, "clusters")
    mean = clustered_mean(below, clusters, unit="the whole")
    if mean.low <= 0.0 <= mean.high:
        return Unscored(
            f"the whole is {mean.value:.3g}, 95 % interval [{mean.low:.3g}, {mean.high:.3g}]: "
            "nothing to divide by"
        )

    def share(rows: Int[np.ndarray, " row"]) -> float:
        whole_of_rows = float(below[rows].mean())
        if whole_of_rows * mean.value <= 0.0:
            raise ZeroDivisionError("a resample has nothing to divide by")
        return float(above[rows].mean()) / whole_of_rows

    try:
        return cluster_bootstrap(share, clusters, n_boot=n_boot, seed=seed, unit=unit)
    except ZeroDivisionError as error:
        return Unscored(f"the whole is {mean.value:.3g}; {error}")


def gain_ratio(
    searched: Float[np.ndarray, "seed row"],
    extracted: Float[np.ndarray, " row"],
    plain: Float[np.ndarray, " row"],
    clusters: Sequence[str],
    *,
    unit: str,
    level: float = 0.95,
) -> Estimate | Unscored:
    """(Mean of `searched` minus `extracted`) over (mean of `extracted` minus `plain`).

    Fieller's (1954) interval: the ratios r at which the mean of `part - r * whole` is not told from
    0. Its variance is that over clusters plus that of the seeds' means over seeds; Student t with
    Welch & Satterthwaite's degrees of freedom at the estimate. Unscored where the set is no
    interval (the whole is not told from 0), or the whole is not above 0.

    Raises:
        BadInputError: fewer than two clusters, or scores not finite.
        MismatchError: not one entry per row.
    """
    table = as_finite(searched, "The searched scores")
    own, base = as_finite(extracted, "The extracted scores"), as_finite(plain, "The plain scores")
    require_same_length(table.shape[1], clusters, "clusters")
    part, whole = table.mean(axis=0) - own, own - base
    above, below = float(part.mean()), float(whole.mean())
    if below <= 0.0:
        return Unscored(f"the extracted vector adds nothing ({below:.3g}): nothing to divide by")
    seeds = float(table.mean(axis=1).var(ddof=1)) / len(table) if len(table) > 1 else 0.0

    def variance(ratio: float) -> float:
        return float(clustered_means((part - ratio * whole)[:, None], clusters)[1][0]) ** 2

    t = _t_of(variance(above / below), seeds, len(set(clusters)), len(table), level)
    # The variance is quadratic in the ratio: three values give its coefficients.
    at_0, at_1, at_minus = (variance(ratio) for ratio in (0.0, 1.0, -1.0))
    a = below**2 - t**2 * ((at_1 + at_minus) / 2.0 - at_0)
    b = -2.0 * above * below - t**2 * (at_1 - at_minus) / 2.0
    c = above**2 - t**2 * (at_0 + seeds)
    if a <= 0.0:
        return Unscored(f"the whole is {below:.3g}, not told from 0: nothing to divide by")
    half = max(b**2 - 4.0 * a * c, 0.0) ** 0.5
    return Estimate(
        value=above / below,
        low=(-b - half) / (2.0 * a),
        high=(-b + half) / (2.0 * a),
        n=table.size,
        n_clusters=len(set(clusters)),
        unit=unit,
        method=f"fieller over {len(set(clusters))} clusters and {len(table)} seeds",
        level=level,
    )


def _t_of(rows: float, seeds: float, n_clusters: int, n_seeds: int, level: float) -> float:
    """Student t with Welch & Satterthwaite's degrees of freedom of two parts of a variance."""
    pieces = rows**2 / (n_clusters - 1) + seeds**2 / max(n_seeds - 1, 1)
    df = (rows + seeds) ** 2 / pieces if pieces > 0.0 else float(n_clusters - 1)
    return t_quantile(level, df)
