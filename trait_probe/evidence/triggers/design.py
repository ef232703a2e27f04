"""The design of a trigger test: the same carriers under a trigger and several controls.

What can be read at a place (the k-th token after the trigger) depends on how many different texts
lead up to it: carriers with the same words so far have the very same activation. Places, clusters
and what is held out follow from the token ids alone, before any score is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence._arrays import effective_clusters, require_same_length
from trait_probe.evidence.power import MIN_CLUSTERS
from trait_probe.evidence.splits import Split


@dataclass(frozen=True)
class Places:
    """Tokens after the trigger, over all carriers.

    Attributes:
        valid: `[carrier place]` whether the carrier has a token there.
        prefix: `[carrier place]` number of the text from the trigger's end to that token.
        groups: per carrier, its group.
    """

    valid: Bool[np.ndarray, "carrier place"]
    prefix: Int[np.ndarray, "carrier place"]
    groups: tuple[str, ...]

    @classmethod
    def of(cls, tokens: Sequence[Sequence[int]], groups: Sequence[str], *, n_places: int) -> Places:
        """From each carrier's token ids after the trigger, at most `n_places` of them read.

        Raises:
            MismatchError: not one group per carrier.
            BadInputError: no token to read.
        """
        require_same_length(len(tokens), groups, "groups")
        width = min(max((len(ids) for ids in tokens), default=0), n_places)
        if width == 0:
            raise BadInputError(
                "No carrier has a token after the trigger.",
                got=f"{len(tokens)} carriers",
                fix="Read carriers with words in them, and at least one place.",
            )
        valid = np.zeros((len(tokens), width), dtype=bool)
        prefix = np.zeros((len(tokens), width), dtype=np.int64)
        for place in range(width):
            seen: dict[tuple[int, ...], int] = {}
            for row, ids in enumerate(tokens):
                if len(ids) > place:
                    valid[row, place] = True
                    text = tuple(ids[: place + 1])
                    prefix[row, place] = seen.setdefault(text, len(seen))
        return cls(valid, prefix, tuple(groups))

    def clusters(self, place: int, carriers: Int[np.ndarray, " _n"]) -> tuple[str, ...]:
        """Per carrier, the cluster it moves with: same group or same text up to the place."""
        _, group = np.unique(np.array(self.groups)[carriers], return_inverse=True)
        _, text = np.unique(self.prefix[carriers, place], return_inverse=True)
        n_groups = int(group.max()) + 1
        size = n_groups + int(text.max()) + 1
        links = coo_array((np.ones(len(carriers)), (group, text + n_groups)), shape=(size, size))
        _, component = connected_components(links, directed=False)
        return tuple(str(label) for label in component[:n_groups][group])

    def distinct(self, place: int, carriers: Int[np.ndarray, " _n"]) -> int:
        """How many different texts lead up to the place; 1 means one constant for all."""
        rows = carriers[self.valid[carriers, place]]
        return len(set(self.prefix[rows, place].tolist()))


@dataclass(frozen=True)
class Reading:
    """Which carriers speak at a place: for choosing it, and, unseen then, for reporting it.

    Attributes:
        place: tokens after the trigger, from 0.
        selection: carriers of the selection split with a token there.
        report: carriers of the report split whose text up to there the selection has not seen.
        clusters: cluster of each report carrier.
        distinct: number of different texts up to the place, over both splits.
        seen: report carriers left out because the selection split has the same text.
        degenerate: why it is never read as evidence, or None.
    """

    place: int
    selection: Int[np.ndarray, " _selection"]
    report: Int[np.ndarray, " _report"]
    clusters: tuple[str, ...]
    distinct: int
    seen: int
    degenerate: str | None


def readings(
    places: Places, split: Split, usable: Bool[np.ndarray, " carrier"]
) -> tuple[Reading, ...]:
    """One `Reading` per place, over the carriers that are usable (identical behaviour)."""
    if len(usable) != len(places.groups):
        raise MismatchError("One flag per carrier.", got=len(usable), valid=(len(places.groups),))
    return tuple(_reading(places, split, usable, place) for place in range(places.valid.shape[1]))


def sealed(found: Sequence[Reading]) -> tuple[Reading, ...]:
    """The same places without their report carriers: all that a choice may look at."""
    nobody = np.zeros(0, dtype=np.int64)
    return tuple(replace(reading, report=nobody, clusters=()) for reading in found)


def _reading(
    places: Places, split: Split, usable: Bool[np.ndarray, " carrier"], place: int
) -> Reading:
    here = usable & places.valid[:, place]
    selection = split.selection[here[split.selection]]
    report = split.report[here[split.report]]
    seen = np.isin(places.prefix[report, place], places.prefix[selection, place])
    unseen = report[~seen]
    clusters = places.clusters(place, unseen) if len(unseen) else ()
    distinct = places.distinct(place, np.flatnonzero(here))
    reason = _degenerate(distinct, places.distinct(place, selection), effective_clusters(clusters))
    return Reading(place, selection, unseen, clusters, distinct, int(seen.sum()), reason)


def _degenerate(distinct: int, selection_texts: int, report_clusters: float) -> str | None:
    if distinct <= 1:
        return "every carrier has the same text up to here: constants, AUROC 0 or 1 for any control"
    if selection_texts < MIN_CLUSTERS or report_clusters < MIN_CLUSTERS:
        return (
            f"too few different texts up to here ({selection_texts} to choose on, "
            f"{report_clusters:.3g} unseen ones to report; {MIN_CLUSTERS} needed)"
        )
    return None
