"""How small an effect a design can see, and how few clusters are too few."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import optimize, special, stats

from trait_probe.errors import BadInputError
from trait_probe.evidence._arrays import require_count, require_fraction
from trait_probe.evidence.estimate import Estimate

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


@dataclass(frozen=True)
class Detectable:
    """The smallest true effect that a design finds with probability `power`.

    Args:
        effect: distance from the null value, in `unit`; of an equivalence, the smallest bound
            that two equal behaviours can be shown to keep.
        unit: what the effect counts, such as "SD of clusters".
        n: independent units it was computed for.
        alpha: error rate of the test.
        power: chance of finding it.
        units: what n counts.
        sided: "two-sided" or "one-sided".
    """

    effect: float
    unit: str
    n: int
    alpha: float = 0.05
    power: float = 0.8
    units: str = "independent units"
    sided: str = "two-sided"

    @property
    def note(self) -> str:
        """One line for a report."""
        return (
            f"{self.n} {self.units}: effects below {self.effect:.2f} {self.unit} are missed more "
            f"than {100 * (1 - self.power):.0f} % of the time ({self.sided} alpha {self.alpha:g})"
        )

    def to_json(self) -> dict[str, object]:
        """Plain fields and the note."""
        return {**vars(self), "note": self.note}


def detectable_mean(
    n_clusters: int, sd: float, unit: str, *, alpha: float = 0.05, power: float = 0.8
) -> Detectable:
    """For a mean of paired differences whose cluster means have standard deviation `sd`.

    Raises:
        BadInputError: as `minimum_detectable_effect`.
    """
    _require_spread(sd)
    smallest = minimum_detectable_effect(n_clusters, alpha=alpha, power=power)
    return Detectable(smallest * sd, unit, n_clusters, alpha, power)


def _require_spread(sd: float) -> None:
    if not 0.0 <= sd < float("inf"):
        raise BadInputError(
            "A standard deviation is a finite number, 0 or more.",
            got=sd,
            fix="Compute it over the clusters (ddof=1).",
        )


# A standard normal draw on a grid; the trapezoid rule is exact to rounding for smooth integrands.
_DRAWS = np.linspace(-9.0, 9.0, 721)
_DENSITY = np.exp(-(_DRAWS**2) / 2) / math.sqrt(2 * math.pi) * (_DRAWS[1] - _DRAWS[0])


def detectable_beyond(
    n: int, sd: float, unit: str, *, looks: int = 1, alpha: float = 0.05, power: float = 0.8
) -> Detectable:
    """For one new draw that has to stand out among `n` draws whose standard deviation is `sd`.

    The larger of what two requirements ask for (normal draws): the one-sided prediction test of
    `nulls.pretend_null` at alpha / looks (noncentral t), and to lie beyond all of them in all
    looks, n * looks independent draws at worst.

    The alpha that is kept and printed is that of one look.

    Raises:
        BadInputError: as `minimum_detectable_effect`, or no spread.
    """
    require_count(looks, 1, "looks")
    _require_spread(sd)
    one = minimum_detectable_effect(n, alpha=alpha / looks, power=power, two_sided=False)
    # From a mean of n, whose error is sd / sqrt(n), to one new draw against a mean of n.
    predicted = one * math.sqrt(n + 1)
    needed = sd * max(predicted, _beyond_all(n * looks, power))
    return Detectable(needed, unit, n, alpha / looks, power, "controls", "one-sided")


@cache
def _beyond_all(n: int, power: float) -> float:
    """Shift with which one normal draw exceeds the largest of `n` others with this probability."""
    if power <= 1 / (n + 1):  # as often as that it does without any shift
        return 0.0

    def missing(shift: float) -> float:
        return float(_DENSITY @ special.ndtr(_DRAWS + shift) ** n) - power

    return float(optimize.brentq(missing, 0.0, 20.0))


def detectable_of(estimate: Estimate, *, alpha: float = 0.05, power: float = 0.8) -> Detectable:
    """For an effect whose standard error is known only from its interval (Student t, clusters).

    Exact for a mean over clusters (half-width over quantile is its standard error), about right
    for other intervals.

    Raises:
        BadInputError: fewer than two clusters, or rates outside (0, 1).
    """
    n = estimate.n_clusters
    quantile = float(stats.t.ppf((1.0 + estimate.level) / 2.0, n - 1))
    sd = estimate.width / 2 / quantile * math.sqrt(n)
    return detectable_mean(n, sd, estimate.unit, alpha=alpha, power=power)


def detectable_auroc(
    n_positive: int, n_negative: int, *, alpha: float = 0.05, power: float = 0.8
) -> Detectable:
    """For one AUROC against 0.5: distance from chance, for normal scores of equal variance.

    Hanley & McNeil's (1982) variance under the alternative, on the plain scale; solved for
    (AUROC - 0.5) / SE(AUROC) = z(1 - alpha / 2) + z(power).

    Raises:
        BadInputError: fewer than two units in a class, or rates outside (0, 1).
    """
    require_count(min(n_positive, n_negative), 2, "units per class")
    require_fraction(alpha, "alpha")
    require_fraction(power, "power")
    needed = float(stats.norm.ppf(1.0 - alpha / 2) + stats.norm.ppf(power))

    def missing(area: float) -> float:
        first, second = area / (2 - area), 2 * area**2 / (1 + area)
        variance = (
            area * (1 - area)
            + (n_positive - 1) * (first - area**2)
            + (n_negative - 1) * (second - area**2)
        ) / (n_positive * n_negative)
        return (area - 0.5) - needed * math.sqrt(variance)

    found = float(optimize.brentq(missing, 0.5, 1.0 - 1e-9))
    n = n_positive + n_negative
    return Detectable(found - 0.5, "AUROC above chance", n, alpha, power)
