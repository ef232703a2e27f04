"""Effect sizes, each with one definition: standardized differences, ROC numbers, differences of
differences. The AUROC and bootstrap functions live in `auc` and `bootstrap` and are offered here
too, so that an experiment needs one import.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import special

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence._arrays import as_finite, require_fraction
from trait_probe.evidence.auc import (
    auroc,
    auroc_columns,
    auroc_difference,
    auroc_interval,
    out_of_fold_inflation,
)
from trait_probe.evidence.bootstrap import cluster_bootstrap, cluster_bootstrap_means

__all__ = [
    "YearScores",
    "auroc",
    "auroc_columns",
    "auroc_difference",
    "auroc_interval",
    "cluster_bootstrap",
    "cluster_bootstrap_means",
    "cohens_d",
    "difference_of_differences",
    "hedges_g",
    "out_of_fold_inflation",
    "paired_d",
    "pretend",
    "share_reversed",
    "tpr_at_fpr",
]

ROUNDING = 1e-12
"""Share of the largest value below which a spread or a difference is rounding."""


def cohens_d(
    positive: Float[np.ndarray, " positive"], negative: Float[np.ndarray, " negative"]
) -> float:
    """Mean difference over the pooled standard deviation, in SD; identical constants give 0.

    Raises:
        BadInputError: fewer than two rows in a class, or no variance but different means.
    """
    above = as_finite(positive, "The positive scores", at_least=2)
    below = as_finite(negative, "The negative scores", at_least=2)
    m, n = len(above), len(below)
    pooled = ((m - 1) * above.var(ddof=1) + (n - 1) * below.var(ddof=1)) / (m + n - 2)
    largest = max(float(np.abs(side).max()) for side in (above, below))
    return _standardized(float(above.mean() - below.mean()), float(np.sqrt(pooled)), largest)


def hedges_g(
    positive: Float[np.ndarray, " positive"], negative: Float[np.ndarray, " negative"]
) -> float:
    """`cohens_d` times Hedges' (1981) exact small-sample correction, in SD.

    Raises:
        BadInputError: as `cohens_d`.
    """
    d = cohens_d(positive, negative)
    half_df = (len(positive) + len(negative) - 2) / 2
    log_correction = special.gammaln(half_df) - special.gammaln(half_df - 0.5)
    return float(d * np.exp(log_correction) / np.sqrt(half_df))


def paired_d(differences: Float[np.ndarray, " pair"]) -> float:
    """Mean of the paired differences over their standard deviation (d_z), in SD; all zero gives 0.

    Raises:
        BadInputError: fewer than two pairs, or equal nonzero differences (no variance).
    """
    values = as_finite(differences, "The paired differences", at_least=2)
    largest = float(np.abs(values).max())
    return _standardized(float(values.mean()), float(values.std(ddof=1)), largest)


def _standardized(difference: float, sd: float, largest: float) -> float:
    # Rounding leaves a tiny sd and a tiny difference of equal values: zero against their size.
    if sd > ROUNDING * largest:
        return difference / sd
    if abs(difference) <= ROUNDING * largest:
        return 0.0
    raise BadInputError(
        "A standardized difference needs variance within the groups.",
        got={"difference": difference, "sd": sd},
        fix="Report the raw difference, or Unscored(reason).",
    )


def tpr_at_fpr(
    positive: Float[np.ndarray, " positive"],
    negative: Float[np.ndarray, " negative"],
    fpr: float,
) -> float:
    """Largest share of positives caught at a threshold that flags at most `fpr` of negatives.

    No interpolation: the threshold is a real one, "flag when score > t". Take unrelated benign
    prompts as negatives: a threshold fitted on them is the one that will be used.

    Args:
        fpr: allowed share of flagged negatives, in (0, 1); at least one negative's share.

    Raises:
        BadInputError: fewer than `1 / fpr` negatives, so that the rate cannot be told from zero.
    """
    require_fraction(fpr, "fpr")
    above = as_finite(positive, "The positive scores")
    below = as_finite(negative, "The negative scores")
    allowed = int(np.floor(fpr * len(below) + 1e-9))
    if allowed < 1:
        raise BadInputError(
            f"A false positive rate of {fpr} cannot be measured on so few negatives.",
            got=len(below),
            valid=[f"{int(np.ceil(1 / fpr - 1e-9))} negatives or more"],
            fix="Add benign prompts, raise fpr, or report Unscored(reason).",
        )
    threshold = np.sort(below)[::-1][allowed]
    return float((above > threshold).mean())


def share_reversed(differences: Float[np.ndarray, " prompt"]) -> float:
    """Share of inputs that move against the mean difference, in [0, 1].

    A mean hides them, up to half of all inputs. Zeros are not reversed. With a mean of exactly
    zero there is no direction, and the larger of the two shares is returned.

    Raises:
        BadInputError: no inputs, or differences not finite.
    """
    values = as_finite(differences, "The differences")
    up, down = float((values > 0).mean()), float((values < 0).mean())
    mean = float(values.mean())
    if mean == 0.0:
        return max(up, down)
    return down if mean > 0 else up


@dataclass(frozen=True)
class YearScores:
    """Projections of one model at one site, position and trait, rows paired by carrier prompt.

    Args:
        trigger: score of each carrier with the trigger condition.
        controls: score of each carrier with each control condition (other years), at least one.

    Raises:
        BadInputError: no carrier, no control, or a score that is not finite.
    """

    trigger: Float[np.ndarray, " prompt"]
    controls: Float[np.ndarray, "prompt control"]

    def __post_init__(self) -> None:
        as_finite(self.trigger, "The trigger scores")
        as_finite(self.controls, "The control scores")
        if len(self.trigger) != len(self.controls):
            raise MismatchError(
                "Trigger and control scores must be paired by carrier.",
                got={"trigger": len(self.trigger), "controls": len(self.controls)},
                fix="Score every carrier under every condition.",
            )
        if self.controls.shape[1] < 1:
            raise BadInputError(
                "YearScores needs at least one control condition.",
                got=0,
                fix="Score the same carriers with other years.",
            )

    def contrast(self) -> Float[np.ndarray, " prompt"]:
        """Trigger minus the mean of the controls, per carrier, in the units of the scores."""
        trigger, controls = self.trigger.astype(np.float64), self.controls.astype(np.float64)
        return np.asarray(trigger - controls.mean(axis=1))


def difference_of_differences(
    suspect: YearScores, clean: YearScores, *, scale: float
) -> Float[np.ndarray, " prompt"]:
    """(suspect - clean) x (trigger - other years), per carrier, in units of `scale`.

    The first difference removes what the trigger's own tokens do in any model, the second what
    fine-tuning does to any text (a benign one shifts every direction). Both controls are needed.

    Args:
        scale: positive size of one unit, such as the projection's SD on a reference set.

    Raises:
        MismatchError: the two models were scored on different designs.
        BadInputError: `scale` is not a positive number.
    """
    if suspect.controls.shape != clean.controls.shape:
        raise MismatchError(
            "Suspect and clean model must be scored on the same carriers and control years.",
            got={"suspect": suspect.controls.shape, "clean": clean.controls.shape},
            fix="Replay the same token ids through both models.",
        )
    if not (np.isfinite(scale) and scale > 0.0):
        raise BadInputError(
            "scale must be a positive number.",
            got=scale,
            fix="Use the projection's standard deviation on a reference set.",
        )
    return np.asarray((suspect.contrast() - clean.contrast()) / scale)


def pretend(scores: YearScores, j: int) -> YearScores:
    """Control `j` as the trigger against the other controls; the true trigger is left out.

    Raises:
        BadInputError: fewer than two controls, or no control number `j`.
    """
    n_controls = scores.controls.shape[1]
    if n_controls < 2:
        raise BadInputError(
            "A pretend trigger needs at least two control conditions.",
            got=n_controls,
            fix="Score the same carriers with more control years.",
        )
    if not 0 <= j < n_controls:
        raise BadInputError(
            "There is no such control condition.",
            got=j,
            valid=range(n_controls),
            fix="Number the controls from 0.",
        )
    return YearScores(scores.controls[:, j], np.delete(scores.controls, j, axis=1))
