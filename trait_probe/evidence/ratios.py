"""How large one mean is as a share of another, with an interval that knows when there is none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from trait_probe.evidence._arrays import as_finite, require_same_length
from trait_probe.evidence.bootstrap import cluster_bootstrap
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.means import clustered_mean


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
