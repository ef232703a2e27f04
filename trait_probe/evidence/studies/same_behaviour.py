"""Claims that behaviour does not differ on average, and in few inputs.

An interval within a bound, not an absent significance. A mean alone does not say it: where half of
the answers turn one way and half the other, it does not move. So the share of inputs whose outcome
changes is bounded too, by its upper end (Clopper & Pearson 1934). Both must hold (an
intersection-union test).

Two one-sided tests at 5 % (Schuirmann 1987), as a 90 % interval of the mean paired difference
inside the bound. Scores lie in [0, 1] (a rate by rule, a judge's share), so that Tango's (1998)
score interval of paired proportions applies: it takes the variance that a difference at its end
would have, so that neither 30 pairs without any difference are taken for proof of none, nor few
changes for little variance (a Wald interval, even with pseudo-counts, said "the same" in 8 % of
studies whose rates differed by the bound).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import optimize, stats

from trait_probe.errors import BadInputError
from trait_probe.evidence._arrays import (
    as_finite,
    cluster_codes,
    require_fraction,
    require_same_length,
)
from trait_probe.evidence.checks import (
    Check,
    Status,
    interval_check,
    interval_passes,
    missing_check,
)
from trait_probe.evidence.claims import MULTIPLICITY_CHECK, Claim
from trait_probe.evidence.distribution import input_shifts
from trait_probe.evidence.estimate import Estimate
from trait_probe.evidence.power import Detectable
from trait_probe.evidence.significance import sign_flip

LEVEL = 0.90
BOUND = 0.1
"""Rate; the default distance within which two behaviours count as the same."""
CHANGED = 0.5
"""Rate; an input changes when its mean outcome moves by more than this."""
MOST_CHANGED = 0.2
"""The default for the share of inputs that may change."""
FEW_CHANGE = "few inputs change"


def rate_difference(
    first: Float[np.ndarray, " row"],
    second: Float[np.ndarray, " row"],
    clusters: Sequence[str],
    *,
    level: float = LEVEL,
) -> Estimate:
    """Mean paired difference of scores in [0, 1], with Tango's (1998) score interval over clusters.

    Each cluster (prompt) counts once, by the mean of its rows. Rises and falls enter as the sums of
    positive and of negative differences: counts where outcomes are 0 or 1; else no wider than
    counts would be, since a fraction's square is smaller than itself.

    Raises:
        BadInputError: scores outside [0, 1], or fewer than two clusters.
    """
    require_fraction(level, "level")
    d = _cluster_differences(first, second, clusters)
    up, down = float(d[d > 0.0].sum()), float(-d[d < 0.0].sum())
    value = float(d.mean())
    return Estimate(
        value=value,
        low=min(-_upper_end(down, up, len(d), level), value),
        high=max(_upper_end(up, down, len(d), level), value),
        n=len(first),
        n_clusters=len(d),
        unit="rate difference",
        method="tango score, over clusters",
        level=level,
    )


def _upper_end(up: float, down: float, n: int, level: float) -> float:
    """The largest difference of rates that the score test at this level does not reject."""
    quantile = float(stats.norm.ppf((1.0 + level) / 2.0))

    def rejected(delta: float) -> float:
        b = -up - down + (2 * n - up + down) * delta
        root = math.sqrt(max(b * b + 8 * n * down * delta * (1.0 - delta), 0.0))
        falls = (root - b) / (4 * n)  # share of falls, as likely as can be under `delta`
        sd = math.sqrt(n * max(2 * falls + delta * (1.0 - delta), 0.0))
        return n * delta - (up - down) - quantile * sd

    # Not at the value itself: without any change the variance under it is zero.
    start, top = (up - down) / n + 1e-9, 1.0 - 1e-9
    if start >= top or rejected(top) <= 0.0:
        return 1.0
    return float(optimize.brentq(rejected, start, top))


def changed_share(
    first: Float[np.ndarray, " row"],
    second: Float[np.ndarray, " row"],
    prompts: Sequence[str],
    *,
    families: Sequence[str] | None = None,
    level: float = LEVEL,
) -> Estimate:
    """Share of prompts whose mean score differs by more than `CHANGED`, in [0, 1].

    With families of prompts it is the share of families in which any prompt changes, so that a
    rise does not hide behind a fall.

    Clopper & Pearson's (1934) interval over them; each end is one-sided at (1 + level) / 2,
    so that the upper end at level 0.9 is a one-sided 95 % one.

    Raises:
        BadInputError: as `rate_difference`.
    """
    moved = np.abs(_cluster_differences(first, second, prompts)) > CHANGED
    if families is None:
        changed = moved
    else:
        require_same_length(len(first), families, "families")
        codes, n_families = cluster_codes(families)
        changed = np.zeros(n_families, dtype=np.bool_)
        np.logical_or.at(changed, codes, moved[cluster_codes(prompts)[0]])
    hits, n = int(changed.sum()), len(changed)
    ends = stats.binomtest(hits, n).proportion_ci(level, method="exact")
    return Estimate(
        value=hits / n,
        low=float(ends.low),
        high=float(ends.high),
        n=len(first),
        n_clusters=n,
        unit="share of inputs",
        method=f"clopper-pearson over clusters (each end one-sided {50 * (1 + level):g} %)",
        level=level,
    )


def families_alike(
    first: Float[np.ndarray, " row"],
    second: Float[np.ndarray, " row"],
    families: Sequence[str],
    *,
    bound: float = BOUND,
) -> tuple[str, ...]:
    """Names of the families whose mean scores differ by less than `bound`, sorted.

    A choice, not a finding: make it on selection rows, and claim `same_behaviour_claim` on others.
    """
    require_same_length(len(first), families, "families")
    names, moved = np.array(families), first.astype(np.float64) - second
    return tuple(
        name for name in sorted(set(families)) if abs(float(moved[names == name].mean())) < bound
    )


def same_behaviour_claim(
    first: Float[np.ndarray, " row"],
    second: Float[np.ndarray, " row"],
    prompts: Sequence[str],
    *,
    families: Sequence[str] | None = None,
    statement: str,
    split: str,
    bound: float = BOUND,
    most_changed: float = MOST_CHANGED,
    looks: int = 1,
    n_permutations: int = 2000,
    seed: int = 0,
    id: str = "same_behaviour",
) -> Claim:
    """One claim that scores differ by less than `bound` on average, and in few inputs.

    Args:
        first, second: scores in [0, 1] of the two models or conditions on the same rows.
        prompts: per row, the prompt; several answers to one prompt are averaged.
        families: per row, the group of prompts that it moves with; each prompt alone if None.
        bound: set before looking, in rate, in (0, 1).
        most_changed: set before looking; share of prompts (or families), in (0, 1), that may
            change by more than `CHANGED`.
        looks: comparisons made in this run; both requirements must then hold at error rates
            divided by it too (Bonferroni).

    Raises:
        BadInputError: as `rate_difference`, or `bound` or `most_changed` outside (0, 1).
    """
    require_fraction(bound, "bound")
    require_fraction(most_changed, "most_changed")
    clusters = prompts if families is None else families
    effect = rate_difference(first, second, clusters)
    share = changed_share(first, second, prompts, families=families)
    checks = [
        interval_check("same behaviour", effect, bound=bound),
        _few_change_check(share, most_changed),
    ]
    if looks > 1:
        level = 1.0 - (1.0 - LEVEL) / looks
        widened = rate_difference(first, second, clusters, level=level)
        raised = changed_share(first, second, prompts, families=families, level=level)
        checks.append(_multiplicity_check(widened, raised, bound, most_changed))
    difference = first.astype(np.float64) - second.astype(np.float64)
    flips = sign_flip(difference, clusters, n=n_permutations, seed=seed, alternative="two-sided")
    return Claim(
        id=id,
        kind="same behaviour",
        statement=statement,
        effect=effect,
        checks=tuple(checks),
        controls={},
        nulls={"signs flipped": flips},
        shortcuts={"per input": input_shifts(difference), "inputs that change": share},
        split=split,
        looks=looks,
        smallest_effect_of_interest=bound,
        trigger_involved=False,
        detectable=_smallest_bound(effect),
    )


def _cluster_differences(
    first: Float[np.ndarray, " row"], second: Float[np.ndarray, " row"], clusters: Sequence[str]
) -> Float[np.ndarray, " cluster"]:
    """Mean of first minus second in each cluster, after the rows were checked."""
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
        raise BadInputError(
            "An interval needs two or more clusters.", got=n, fix="Add prompts, not answers."
        )
    return np.asarray(np.bincount(codes, weights=rows[0] - rows[1]) / np.bincount(codes))


def _few_change_check(share: Estimate, most: float) -> Check:
    required = f"a one-sided 95 % upper end of at most {most:g}"
    n = share.n_clusters
    needed = int(np.ceil(np.log((1.0 - LEVEL) / 2) / np.log1p(-most)))  # with none changed
    if n < needed:
        return missing_check(FEW_CHANGE, f"{n} clusters, {needed} needed to show it", required)
    status: Status = "passed" if share.high <= most else "failed"
    return Check(FEW_CHANGE, status, _share_text(share), required)


def _multiplicity_check(widened: Estimate, raised: Estimate, bound: float, most: float) -> Check:
    held = interval_passes("same behaviour", widened, bound) and raised.high <= most
    observed = (
        f"{100 * widened.level:g} % interval [{widened.low:.4g}, {widened.high:.4g}] "
        f"{widened.unit}; {_share_text(raised)}"
    )
    required = f"the interval wholly within {bound:g} of 0, the upper end at most {most:g}"
    return Check(MULTIPLICITY_CHECK, "passed" if held else "failed", observed, required)


def _share_text(share: Estimate) -> str:
    changed, most = 100 * share.value, 100 * share.high
    return f"{changed:.4g} % of {share.n_clusters} clusters change, upper end {most:.4g} %"


def _smallest_bound(effect: Estimate) -> Detectable:
    """The bound that two equal behaviours of this spread keep with probability 0.8."""
    alpha = 1.0 - effect.level
    quantile = float(stats.norm.ppf(1.0 - alpha / 2))
    needed = (quantile + float(stats.norm.ppf(0.9))) * effect.width / 2 / quantile
    return Detectable(needed, "rate difference as the bound", effect.n_clusters, alpha, 0.8)
