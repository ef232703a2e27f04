"""The null of a trigger that was looked at in many claims: relabelled conditions."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from trait_probe.evidence._arrays import as_finite, require_count

ROUNDING = 1e-12
TIES = 1e-9


def family_p(effects: Float[np.ndarray, "column condition"]) -> Float[np.ndarray, " column"]:
    """Rank p of the trigger in each claim, against what each control reaches in any claim.

    Every condition in turn is standardized by the others (`standardized_by_others`); p is
    (1 + controls whose largest value over all claims reaches the trigger's value in this claim) /
    (1 + controls), a single-step maximum test (Westfall & Young 1993) with conditions for
    relabelings. If conditions are exchangeable, the chance that a meaningless trigger is beyond
    all controls in any claim is at most 1 / (1 + controls), whatever the distribution of their
    effects and however the claims depend on each other; claims with a true effect only raise
    the bar. `nulls.pretend_null` looks at one claim and its small p values assume normal effects.

    Args:
        effects: per claim, the effect of each condition in the trigger's role, the trigger first.

    Raises:
        BadInputError: fewer than two controls, or effects not finite.
    """
    scores = np.stack([standardized_by_others(row) for row in as_finite(effects, "The effects")])
    best = scores[:, 1:].max(axis=0)
    # Equality within rounding counts as reached.
    bar = scores[:, :1] - TIES * np.where(np.isinf(scores[:, :1]), 0.0, 1 + np.abs(scores[:, :1]))
    reached = (best[None, :] >= bar).sum(axis=1)
    return np.asarray((1 + reached) / scores.shape[1])


def standardized_by_others(
    effects: Float[np.ndarray, " condition"],
) -> Float[np.ndarray, " condition"]:
    """(effect - mean of the others) / SD of the others; where these do not vary, 0 or +-infinity.

    Raises:
        BadInputError: fewer than three conditions, or effects not finite.
    """
    values = as_finite(effects, "The effects")
    require_count(len(values), 3, "The number of conditions")
    others = np.stack([np.delete(values, i) for i in range(len(values))])
    distance, sd = values - others.mean(axis=1), others.std(axis=1, ddof=1)
    rounding = ROUNDING * float(np.abs(values).max())
    distance[np.abs(distance) <= rounding] = 0.0
    flat = sd <= rounding
    infinite = np.where(distance == 0.0, 0.0, np.copysign(np.inf, distance))
    return np.asarray(np.where(flat, infinite, distance / np.where(flat, 1.0, sd)))
