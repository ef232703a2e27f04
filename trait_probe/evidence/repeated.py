"""How far repeated measurements of the same thing scatter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from trait_probe.evidence._arrays import as_finite, require_same_length
from trait_probe.evidence.bootstrap import cluster_bootstrap
from trait_probe.evidence.estimate import Estimate, Unscored


def repeat_sd(
    repeats: Sequence[Float[np.ndarray, " _repeat"]],
    clusters: Sequence[str],
    *,
    unit: str,
    n_boot: int,
    seed: int,
    level: float = 0.95,
) -> Estimate | Unscored:
    """Standard deviation of an item's repeats around the item's own mean, pooled over items.

    The within-subject standard deviation of Bland & Altman (1996, BMJ 313:744): the root of all
    squared deviations over the sum of (repeats - 1), so that items may have unequally many. Theirs
    is an interval for normal errors of equal size; scores that pile up at the ends have neither,
    so clusters of items are resampled (`cluster_bootstrap`; on normal data its 95 % interval covers
    93 % with 20 items, 94 % with 40). Items with one repeat say nothing and are left out; n counts
    items.

    Args:
        repeats: per item, its measurements in `unit`.
        clusters: cluster name of each item.

    Raises:
        BadInputError: measurements that are not finite.
        MismatchError: `clusters` has not one entry per item.
    """
    require_same_length(len(repeats), clusters, "clusters")
    kept = [i for i, values in enumerate(repeats) if len(values) >= 2]
    names = [clusters[i] for i in kept]
    if len(set(names)) < 2:
        return Unscored(
            f"{len(kept)} repeated items of {len(set(names))} clusters; 2 clusters are needed"
        )
    rows = [as_finite(repeats[i], "The repeats") for i in kept]
    squares = np.array([((values - values.mean()) ** 2).sum() for values in rows])
    freedom = np.array([len(values) - 1 for values in rows], dtype=np.float64)

    def pooled(chosen: Int[np.ndarray, " row"]) -> float:
        return float(np.sqrt(squares[chosen].sum() / freedom[chosen].sum()))

    return cluster_bootstrap(pooled, names, n_boot=n_boot, seed=seed, level=level, unit=unit)
