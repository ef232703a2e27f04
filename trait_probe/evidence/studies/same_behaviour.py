"""Claims that behaviour does not differ: an interval within a bound, not an absent significance.

Two one-sided tests at 5 % (Schuirmann 1987), as a 90 % interval of the mean paired difference
inside the bound. Scores lie in [0, 1] (a rate by rule, a judge's share), so that differences lie in
[-1, 1] and the interval of Bonett & Price (2012) applies: one pseudo-difference of +1 and one of -1
are added, so that 30 pairs without any difference are not taken for proof of none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from trait_probe.errors import BadInputError
from trait_probe.evidence._arrays import as_finite, cluster_codes, require_same_length
from trait_probe.evidence.checks import interval_check
from trait_probe.evidence.claims import Claim
from trait_probe.evidence.distribution import input_shifts
from trait_probe.evidence.estimate import Estimate
from trait_probe.evidence.power import Detectable
from trait_probe.evidence.significance import sign_flip

LEVEL = 0.90
BOUND = 0.1
"""Rate; the default distance within which two behaviours count as the same."""


def rate_difference(
    first: Float[np.ndarray, " row"],
    second: Float[np.ndarray, " row"],
    clusters: Sequence[str],
    *,
    level: float = LEVEL,
) -> Estimate:
    """Mean paired difference of scores in [0, 1], with a Bonett-Price t interval over clusters.

    Each cluster (prompt) counts once, by the mean of its rows. With n clusters and differences
    d: mean (sum d) / (n + 2), variance ((sum d^2 + 2) / (n + 2) - mean^2) / (n + 2), Student t
    with n - 1 degrees of freedom. `value` is the plain mean of the cluster means.

    Raises:
        BadInputError: scores outside [0, 1], or fewer than two clusters.
    """
    rows = [as_finite(side, "The scores", at_least=1) for side in (first, second)]
    require_same_length(len(rows[0]), clusters, "clusters")
    require_same_length(len(rows[1]), clusters, "clusters")
    if min(side.min() for side in rows) < 0.0 or max(side.max() for side in rows) > 1.0:
        raise BadInputError(
            "Behaviour scores lie in [0, 1].",
            got=[(float(side.min()), float(side.max())) for side in rows],
            fix="Pass rates, rule outcomes (0 or 1), or judge scores divided by their maximum.",
        )
    codes, n = cluster_codes(clusters)
    if n < 2:
        raise BadInputError("An interval needs two or more clusters.", got=n)
    d = np.bincount(codes, weights=rows[0] - rows[1]) / np.bincount(codes)
    centre = float(d.sum() / (n + 2))
    variance = ((float((d**2).sum()) + 2.0) / (n + 2) - centre**2) / (n + 2)
    half = float(stats.t.ppf((1.0 + level) / 2.0, n - 1)) * float(np.sqrt(variance))
    return Estimate(
        value=float(d.mean()),
        low=max(-1.0, centre - half),
        high=min(1.0, centre + half),
        n=len(codes),
        n_clusters=n,
        unit="rate difference",
        method="bonett-price with student t, over clusters",
        level=level,
    )


def same_behaviour_claim(
    first: Float[np.ndarray, " row"],
    second: Float[np.ndarray, " row"],
    clusters: Sequence[str],
    *,
    statement: str,
    split: str,
    bound: float = BOUND,
    n_permutations: int = 2000,
    seed: int = 0,
    id: str = "same_behaviour",
) -> Claim:
    """One claim that two outputs' scores differ by less than `bound` on average.

    Args:
        first, second: scores in [0, 1] of the two models or conditions on the same rows.
        clusters: per row, the prompt.
        bound: set before looking, in rate.
    """
    effect = rate_difference(first, second, clusters)
    difference = first.astype(np.float64) - second.astype(np.float64)
    return Claim(
        id=id,
        kind="same behaviour",
        statement=statement,
        effect=effect,
        checks=(interval_check("same behaviour", effect, bound=bound),),
        controls={},
        nulls={
            "signs flipped": sign_flip(
                difference, clusters, n=n_permutations, seed=seed, alternative="two-sided"
            )
        },
        shortcuts={"per input": input_shifts(difference)},
        split=split,
        looks=1,
        smallest_effect_of_interest=bound,
        trigger_involved=False,
        detectable=_smallest_bound(effect),
    )


def _smallest_bound(effect: Estimate) -> Detectable:
    """The bound that two equal behaviours of this spread keep with probability 0.8."""
    n = effect.n_clusters
    se = effect.width / 2 / float(stats.t.ppf((1.0 + effect.level) / 2.0, n - 1))
    alpha = 1.0 - effect.level
    needed = float(stats.t.ppf(1.0 - alpha / 2, n - 1) + stats.norm.ppf(0.9)) * se
    return Detectable(needed, "rate difference as the bound", n, alpha, 0.8)
