"""Nulls of a trigger that was chosen among many looks: over claims, and over places and layers."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from trait_probe.errors import MismatchError
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


def after_choice(
    selection: Float[np.ndarray, "_look draw"], report: Float[np.ndarray, "_look draw"]
) -> Float[np.ndarray, " draw"]:
    """What each null direction reports at the look that it chose for itself.

    A trait reads where its own selection effect is largest. Null directions held to the trait's
    place and layer lack that freedom: with 8 independent looks a meaningless direction is then
    above 95 % of them a third of the time.

    Args:
        selection, report: effects of each direction at every (place, site) looked at, on the
            selection and on the report split.

    Raises:
        MismatchError: the two tables do not hold the same looks and directions.
        BadInputError: no look, or effects not finite.
    """
    if selection.shape != report.shape:
        raise MismatchError(
            "Selection and report hold the same looks and directions.",
            got={"selection": selection.shape, "report": report.shape},
            fix="Score the same directions on both splits.",
        )
    chosen = as_finite(selection, "The selection effects").argmax(axis=0)
    values = as_finite(report, "The report effects")
    return np.asarray(values[chosen, np.arange(values.shape[1])])
