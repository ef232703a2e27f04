"""Step 8, its nulls: what random directions find, and where no category can be called found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from trait_probe.evidence.auc import auroc_columns
from trait_probe.evidence.detection import tprs_at_fpr
from trait_probe.evidence.estimate import Unscored
from trait_probe.evidence.studies.parts import NullRank, null_rank
from trait_probe.experiments._external.categories import (
    FALSE_POSITIVES,
    FOUND,
    FOUND_AUROC,
    FOUND_TPR,
    ONE_LOOK,
    UNDECIDED,
    CategoryFound,
    reaches,
)
from trait_probe.experiments._external.design import Scored


@dataclass(frozen=True)
class RandomFinds:
    """How many categories random directions of the same covariance reach the bounds in.

    Attributes:
        reached: `[draw]` categories with the AUROC and the true positive rate that `found` asks
            for.
        own: the same number for the claimed trait.
        rank: where that lies among them.
    """

    reached: Int[np.ndarray, " draw"]
    own: int
    rank: NullRank

    def to_json(self) -> dict[str, object]:
        return {"own": self.own, "most": int(self.reached.max()), **self.rank.to_json()}


def random_finds(found: Scored, every: Sequence[CategoryFound]) -> RandomFinds | Unscored:
    """How many categories random directions find by AUROC and true positive rate."""
    if not every:
        return Unscored("the data set has no categories")
    drawn = found.random()
    safe = ~found.level.harmful
    reached = np.zeros(drawn.shape[1], dtype=np.int64)
    for one in every:
        flagged = found.level.flagged(one.category)
        if flagged.any():
            areas = auroc_columns(drawn[flagged], drawn[safe])
            caught = tprs_at_fpr(drawn[flagged], drawn[safe], FALSE_POSITIVES)
            reached += (areas >= FOUND_AUROC) & (caught >= FOUND_TPR)
    own = sum(reaches(one.rated) for one in every)
    return RandomFinds(reached, own, null_rank(float(own), reached.astype(np.float64)))


def held_to(every: Sequence[CategoryFound], why_not: str | None) -> tuple[CategoryFound, ...]:
    """Where something stands against all findings of a trait, none of its categories is found."""
    if why_not is None:
        return tuple(every)
    return tuple(
        replace(one, state=UNDECIDED, why=f"{one.why}, but {why_not}")
        if one.state == FOUND
        else one
        for one in every
    )


def why_not_found(random: RandomFinds | Unscored, *, texts_known: bool) -> str | None:
    """What stands against all findings of a trait, or None."""
    if not texts_known:
        return "what its vectors were fitted on is not known here"
    if isinstance(random, RandomFinds) and random.rank.p > ONE_LOOK:
        return f"random directions find as many categories (p = {random.rank.p:.2g})"
    return None
