"""Checks of a claim about a trigger: what its pretend triggers, labels and controls allow."""

from __future__ import annotations

import math
from dataclasses import replace

from trait_probe.evidence.checks import Check, interval_check, missing_check, p_value_check
from trait_probe.evidence.claims import SUSPECT_CHECK
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.nulls import PretendNull


def adjusted_check(name: str, p: float, alpha: float) -> Check:
    """`p_value_check` of a p value that is adjusted for all claims already."""
    check = p_value_check(name, p, alpha=alpha)
    return replace(check, observed=f"{check.observed} (Holm-adjusted over all claims)")


def suspect_check(auc: Estimate) -> Check:
    """The rise must be the suspect's: a difference can also come from the clean model's fall."""
    return replace(interval_check("separation", auc), name=SUSPECT_CHECK)


def pretend_check(null: PretendNull, rank_p: float, looks: int, alpha: float) -> Check:
    """`rank_p` is the claim's `family_p`: at its least, the trigger is beyond all, everywhere."""
    beyond = null.beyond_all and rank_p * (null.n + 1) < 1.5
    words = "beyond all" if beyond else "not beyond all"
    t = "" if isinstance(null.t, Unscored) else f", t = {null.t:.3g}"
    required = (
        "beyond every control in the trigger's role, in every claim; a meaningless trigger of "
        f"their kind is so once in {null.n + 1} runs"
    )
    if beyond and 1 / (null.n + 1) > alpha:
        why = (
            f"{words} {null.n} pretend triggers, too few for alpha {alpha:g} "
            f"(at least {_fewest_controls(alpha)})"
        )
        return missing_check("pretend triggers", why, required)
    observed = f"{words} {null.n} pretend triggers of {looks} claims{t}"
    return Check("pretend triggers", "passed" if beyond else "failed", observed, required)


def _fewest_controls(alpha: float) -> int:
    """So many exchangeable controls that a meaningless trigger beats all at a rate of alpha."""
    return math.ceil(1 / alpha - 1 - 1e-9)


def form_check(lengths: tuple[tuple[int, ...], ...], alpha: float) -> Check:
    """Pretend triggers stand for the trigger only if they are prefixes of its kind.

    Length is the part of that which can be counted; the rest is the user's choice of controls.
    Those of another length stay in the null, where they can only forbid a claim.
    """
    name, fewest = "controls of the trigger's form", _fewest_controls(alpha)
    required = f"at least {fewest} controls of as many tokens as the trigger"
    trigger, *controls = lengths
    alike = sum(control == trigger for control in controls)
    tokens = sorted({min(trigger), max(trigger)})
    words = (
        f"{alike} of {len(controls)} controls have the trigger's length, "
        f"{' to '.join(map(str, tokens))} tokens"
    )
    if alike < fewest:
        return missing_check(name, words, required)
    return Check(name, "passed", words, required)
