"""How small an effect a design can see, and how few clusters are too few."""

from __future__ import annotations

import math

from scipy import optimize, special, stats

from trait_probe.errors import BadInputError
from trait_probe.evidence._arrays import require_count, require_fraction

MIN_CLUSTERS = 8
"""Fewest independent clusters (prompts, carriers) on which a claim may rest.

- A two-sided sign-flip test of n clusters cannot reach p = 0.05 below n = 6 (its floor is 2^(1-n)).
- The bootstrap interval used here covers 94 % instead of 95 % at 8 clusters, 91 % at 5 (normal
  data); in skewed data it is worse.
- At 8 clusters only effects of 1.2 SD are found four times out of five: fewer cannot support the
  absence of anything.
"""


def detection_power(
    effect: float, n_clusters: int, *, alpha: float = 0.05, two_sided: bool = True
) -> float:
    """Chance that a one-sample t test finds a mean of `effect` SD in `n_clusters` clusters.

    The noncentral t tail beyond the critical value, on the side of the effect only.

    Raises:
        BadInputError: fewer than two clusters, or `alpha` outside (0, 1).
    """
    require_count(n_clusters, 2, "n_clusters")
    require_fraction(alpha, "alpha")
    critical = float(stats.t.ppf(1.0 - alpha / (2 if two_sided else 1), n_clusters - 1))
    return 1.0 - float(special.nctdtr(n_clusters - 1, effect * math.sqrt(n_clusters), critical))


def minimum_detectable_effect(
    n_clusters: int, *, alpha: float = 0.05, power: float = 0.8, two_sided: bool = True
) -> float:
    """Smallest mean paired difference, in SD of the clusters, found with probability `power`.

    One-sample t test on one number per cluster (cluster means of paired differences).

    Raises:
        BadInputError: fewer than two clusters, `alpha` outside (0, 1), `power` outside (alpha, 1).
    """
    require_count(n_clusters, 2, "n_clusters")
    require_fraction(alpha, "alpha")
    require_fraction(power, "power")
    if power <= alpha:
        raise BadInputError(
            "power must exceed alpha: that much is found where nothing is.",
            got={"power": power, "alpha": alpha},
            fix="Use power=0.8 and alpha=0.05.",
        )
    upper = 1.0
    while detection_power(upper, n_clusters, alpha=alpha, two_sided=two_sided) < power:
        upper *= 2.0

    def missing(effect: float) -> float:
        return detection_power(effect, n_clusters, alpha=alpha, two_sided=two_sided) - power

    return float(optimize.brentq(missing, 0.0, upper))


def power_note(n_clusters: int, *, alpha: float = 0.05, power: float = 0.8) -> str:
    """One line for a report: what this many clusters can and cannot see."""
    smallest = minimum_detectable_effect(n_clusters, alpha=alpha, power=power)
    return (
        f"{n_clusters} clusters: effects below {smallest:.2f} SD are missed more than "
        f"{100 * (1 - power):.0f} % of the time (two-sided alpha {alpha:g})"
    )
