"""Step 11: what the projection gets most wrong, with what lies nearest to it inside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from trait_probe.evidence.detection import threshold_at_fpr
from trait_probe.evidence.estimate import Unscored
from trait_probe.experiments._external.design import Scored
from trait_probe.experiments._prompts import conversation

NEIGHBOURS = 3
FALSE_POSITIVES = 0.05
FALSE_NEGATIVE, FALSE_POSITIVE = "false negative", "false positive"


@dataclass(frozen=True)
class Neighbour:
    """A row of another group that lies near in projection space.

    Attributes:
        distance: Euclidean, over all traits at their layers, in SD each.
    """

    id: str
    harmful: bool
    categories: tuple[str, ...]
    distance: float


@dataclass(frozen=True)
class Failure:
    """One row that the projection ranks on the wrong side.

    Attributes:
        rank: share of all rows with a lower projection, in [0, 1].
        projection: in SD of the vector's reference.
        categories: what the row is flagged in; of a safe row, what its group is about.
        other_label: how many of the neighbours have the other label: where all have, the label
            may be wrong rather than the projection.
    """

    kind: str
    id: str
    asked: str
    answer: str | None
    categories: tuple[str, ...]
    projection: float
    rank: float
    neighbours: tuple[Neighbour, ...]
    other_label: int


def failures(found: Scored, trait: str, n: int) -> tuple[Failure, ...]:
    """Harmful rows that 5 % false positives miss, lowest first, and the safe rows flagged there.

    At most one row a group on each side: answers to one prompt fail alike. Where safe rows are too
    few for that rate, the middle of all rows stands for the threshold.
    """
    scores = found.detector(trait).scores
    order = np.argsort(scores, kind="stable")
    threshold = threshold_at_fpr(scores[~found.level.harmful], FALSE_POSITIVES)
    if isinstance(threshold, Unscored):
        threshold = float(scores[order[len(order) // 2]])
    ranks = np.empty(len(order))
    ranks[order] = np.arange(len(order)) / len(order)
    space = found.columns()
    harmful = found.level.harmful
    flagged = scores > threshold
    low = _one_a_group(found, order[(harmful & ~flagged)[order]], n)
    high = _one_a_group(found, order[(~harmful & flagged)[order]][::-1], n)
    return tuple(
        _failure(found, kind, row, float(scores[row]), float(ranks[row]), space)
        for kind, rows in ((FALSE_NEGATIVE, low), (FALSE_POSITIVE, high))
        for row in rows
    )


def _one_a_group(found: Scored, order: Int[np.ndarray, " row"], n: int) -> list[int]:
    seen: dict[str, int] = {}
    for row in order.tolist():
        if len(seen) == n:
            break
        seen.setdefault(found.level.groups[row], row)
    return list(seen.values())


def _failure(
    found: Scored,
    kind: str,
    row: int,
    projection: float,
    rank: float,
    space: Float[np.ndarray, "row trait"],
) -> Failure:
    level, ids = found.level, found.level.ids
    near = tuple(
        Neighbour(ids[i], bool(level.harmful[i]), level.names(i), distance)
        for i, distance in _nearest(found, row, space)
    )
    about = tuple(name for name in level.categories if level.concerns(name)[row])
    return Failure(
        kind=kind,
        id=ids[row],
        asked=conversation(level.prompts[row]),
        answer=level.prompts[row].response,
        categories=level.names(row) or about,
        projection=projection,
        rank=rank,
        neighbours=near,
        other_label=sum(one.harmful != bool(level.harmful[row]) for one in near),
    )


def _nearest(
    found: Scored, row: int, space: Float[np.ndarray, "row trait"]
) -> list[tuple[int, float]]:
    """The nearest rows of other groups, nearest first, one a group."""
    groups = found.level.groups
    distances = np.linalg.norm(space - space[row], axis=1)
    near: dict[str, tuple[int, float]] = {}
    for i in np.argsort(distances, kind="stable").tolist():
        if len(near) == NEIGHBOURS:
            break
        if groups[i] != groups[row]:
            near.setdefault(groups[i], (i, float(distances[i])))
    return list(near.values())
