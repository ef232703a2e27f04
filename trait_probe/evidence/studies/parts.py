"""What the studies check and say alike: shapes and rates, the lock, ranks among null directions."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence._arrays import as_finite
from trait_probe.evidence.checks import Check, Kind, missing_check
from trait_probe.evidence.claims import Claim
from trait_probe.evidence.estimate import Unscored
from trait_probe.evidence.locks import ReportLock
from trait_probe.evidence.multiplicity import holm
from trait_probe.evidence.nulls import percentile, permutation_p
from trait_probe.evidence.studies.models import ModelScores
from trait_probe.evidence.studies.vacuous import TINY, sketch

Scores = Float[np.ndarray, "row place"]
NullScores = Float[np.ndarray, "row place draw"]


def open_lock(
    lock: ReportLock,
    kind: Kind,
    names: Sequence[str],
    places: Mapping[str, int],
    scores: Mapping[str, Float[np.ndarray, "_row _place"]],
    *,
    labels: Bool[np.ndarray, " _row"] | None = None,
    against: Mapping[str, object],
) -> None:
    """Open the report rows for a place per trait; the same for every kind of claim.

    Scores of the selection rows stand for the directions: another one of the same name is another
    choice. So are other labels, and anything else that the same kind of claim is compared with.

    Args:
        against: arrays with one entry per row, or settings, by name.
    """
    told = {trait: _told(found, lock) for trait, found in scores.items()}
    chosen = {"places": {t: names[i] for t, i in places.items()}, "scores": told}
    lock.report(chosen if labels is None else {**chosen, "labels": _told(labels, lock)})
    lock.compare(kind, {name: _told(value, lock) for name, value in against.items()})


def _told(value: object, lock: ReportLock) -> str:
    """A hash: of scores by a sketch of their selection rows, of anything else as it is."""
    if isinstance(value, Mapping):
        value = {str(name): _told(item, lock) for name, item in sorted(value.items())}
    elif isinstance(value, ModelScores):
        value = [_told(grid, lock) for grid in (value.base, value.variant, *value.controls)]
    elif isinstance(value, np.ndarray) and value.dtype.kind == "f":
        rows = value[lock.selection].reshape(len(lock.selection), -1)
        few = rows @ np.cos(np.outer(np.arange(rows.shape[1]), np.arange(1, 9)))
        wide = rows if rows.shape[1] <= few.shape[1] else few
        value = (np.round(sketch(wide), 2) + 0.0).tolist()  # no negative zero
    elif isinstance(value, np.ndarray):
        value = value.tolist()
    return hashlib.sha256(repr(value).encode()).hexdigest()


@dataclass(frozen=True)
class NullRank:
    """Where an effect lies among what null directions gave: share below, one-sided p, draws."""

    percentile: float
    p: float
    n: int

    def to_json(self) -> dict[str, object]:
        return dict(vars(self))


def untestable(kind: Kind, name: str, statement: str, why: Check, looks: int) -> Claim:
    """The claim of a study that is too small, or lacks what everything else rests on."""
    return Claim(
        id=name,
        kind=kind,
        statement=statement,
        effect=Unscored(why.observed),
        checks=(why,),
        controls={},
        nulls={},
        shortcuts={},
        split="report rows",
        looks=looks,
        trigger_involved=False,
    )


def null_rank(value: float, null: Float[np.ndarray, " draw"]) -> NullRank:
    """Percentile (ties one half) and Phipson & Smyth's p."""
    return NullRank(percentile(value, null), permutation_p(value, null), len(null))


def null_check(
    name: str, rank: NullRank | Unscored, adjusted_p: float, alpha: float, looks: int
) -> Check:
    """Passed when the effect stands out among null directions, for all the study's traits.

    With fewer than `looks / alpha - 1` draws no effect could: missing.
    """
    required = f"p <= {alpha:g} (Holm-adjusted over the traits) among null directions"
    if isinstance(rank, Unscored):
        return missing_check(name, rank.reason, required)
    observed = f"above {100 * rank.percentile:.4g} % of {rank.n}, adjusted p = {adjusted_p:.4g}"
    if adjusted_p > alpha and looks / (1 + rank.n) > alpha:
        return missing_check(name, f"{observed}: too few draws for {looks} traits", required)
    return Check(name, "passed" if adjusted_p <= alpha else "failed", observed, required)


def ranked(value: float, null: Float[np.ndarray, " draw"]) -> NullRank | Unscored:
    """`null_rank`, or why a null that does not vary ranks nothing."""
    if len(null) < 2 or np.ptp(null) <= TINY * np.abs(null).max():
        return Unscored("no two null directions that differ")
    return null_rank(value, null)


def holm_ranks(ranks: Sequence[NullRank | Unscored]) -> list[float]:
    """Holm-adjusted p values of the traits; one without a null counts as p = 1."""
    return [
        float(p) for p in holm(np.array([1.0 if isinstance(r, Unscored) else r.p for r in ranks]))
    ]


def require_rates(alpha: float, n_permutations: int | None = None) -> None:
    """Raise unless alpha lies in (0, 0.05] and permutations can reach it.

    Intervals are 95 % ones whatever alpha is: a larger one would only pretend to be laxer.
    """
    if not 0.0 < alpha <= 0.05:
        raise BadInputError(
            "alpha must lie in (0, 0.05].", got=alpha, fix="Take 0.05, or less to be stricter."
        )
    if n_permutations is not None and n_permutations + 1 < 1 / alpha:
        raise BadInputError(
            f"{n_permutations} permutations cannot reach p = {alpha:g}.",
            got=n_permutations,
            valid=(f"{math.ceil(1 / alpha)} or more",),
            fix="Take 2000.",
        )


def require_traits(traits: Mapping[str, object]) -> None:
    """Raise unless there is a trait."""
    if not traits:
        raise BadInputError("A study needs at least one trait.", got=0, fix="Hand in its scores.")


def require_shapes(traits: Mapping[str, Scores], rows: int, places: int) -> None:
    """Raise unless every trait has one score per row and place, and there is a trait."""
    require_traits(traits)
    if not places:
        raise BadInputError("A study reads at one place or more.", got=0, fix="Name the places.")
    for name, scores in traits.items():
        as_finite(scores, f"The scores of {name!r}")
        if scores.shape != (rows, places):
            raise MismatchError(
                f"The scores of {name!r} must have one row per prompt and one column per place.",
                got=scores.shape,
                valid=((rows, places),),
                fix="Build scores, labels and places from the same table.",
            )


def require_null(null: NullScores | None, rows: int, places: int) -> None:
    """Raise unless null directions have a score per row and place, and there is one."""
    if null is None:
        return
    as_finite(null, "The scores of null directions")
    if null.ndim != 3 or null.shape[:2] != (rows, places) or not null.shape[2]:
        raise MismatchError(
            "Null directions have one row per prompt, one column per place, and one draw or more.",
            got=null.shape,
            valid=(f"({rows}, {places}, draws)",),
            fix="Score them on the same prompts and places as the traits.",
        )


def require_rows_of(
    values: Mapping[str, Float[np.ndarray, "_row ..."]], rows: int, *, ndim: int
) -> None:
    """Raise unless every array has one row per prompt, and as many axes as it should."""
    for name, found in values.items():
        as_finite(found, f"The rows of {name!r}")
        if found.ndim != ndim:
            raise MismatchError(
                f"{name!r} must be an array with {ndim} axes, prompts first.",
                got=found.shape,
                valid=(f"({rows}, ...)" if ndim > 1 else f"({rows},)",),
            )
        if len(found) != rows:
            raise MismatchError(
                f"{name!r} must have one row per prompt.", got=len(found), valid=(rows,)
            )
