"""Which rows choose (layer, sign, strength, threshold, features) and which rows report."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Int, Integer

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence._arrays import cluster_codes, require_fraction

Ids: TypeAlias = Iterable[str | int] | Integer[np.ndarray, " _"]


@dataclass(frozen=True)
class Split:
    """Row numbers of the selection and of the report side, which share no row.

    Args:
        selection: rows on which choices are made, ascending.
        report: rows on which results are computed, once, ascending.
        fraction: share of groups that went to the selection side, as asked for.
        seed: seed that dealt the groups.

    Raises:
        BadInputError: an empty side or a row on both sides.
    """

    selection: Int[np.ndarray, " _"]
    report: Int[np.ndarray, " _"]
    fraction: float
    seed: int

    def __post_init__(self) -> None:
        if not (len(self.selection) and len(self.report)):
            raise BadInputError(
                "Both sides of a split need rows.",
                got={"selection": len(self.selection), "report": len(self.report)},
                fix="Add groups or move the fraction towards 0.5.",
            )
        require_disjoint(self.selection, self.report, "Split rows")

    def to_json(self) -> dict[str, object]:
        """Sizes, fraction and seed; the rows follow from them and the groups."""
        return {
            "selection_rows": len(self.selection),
            "report_rows": len(self.report),
            "fraction": self.fraction,
            "seed": self.seed,
        }


def restrict(split: Split, kept: Int[np.ndarray, " _kept"]) -> Split:
    """The split of some of its rows, numbered as they stand in `kept`; no row changes its side.

    Args:
        kept: ascending row numbers of the whole table.

    Raises:
        BadInputError: a side that is left empty.
    """
    sides = (np.flatnonzero(np.isin(kept, side)) for side in (split.selection, split.report))
    selection, report = sides
    return Split(selection, report, split.fraction, split.seed)


def split_by_group(groups: Sequence[str], *, fraction: float = 0.5, seed: int = 0) -> Split:
    """Deal whole groups (prompts, prompt families) to one side or the other.

    The side of a group depends on the set of group names and the seed alone: neither the order
    of the rows nor the size of the groups matters, so a re-sorted table splits the same way.

    Args:
        groups: group name of each row.
        fraction: share of groups on the selection side, in (0, 1); at least one group a side.

    Raises:
        BadInputError: fewer than two groups, or `fraction` outside (0, 1).
    """
    require_fraction(fraction, "fraction")
    codes, n_groups = cluster_codes(groups)
    if n_groups < 2:
        raise BadInputError(
            "A split by group needs at least two groups.",
            got=n_groups,
            fix="Add prompts from other groups, or name groups more finely.",
        )
    n_selected = min(max(round(fraction * n_groups), 1), n_groups - 1)
    chosen = np.random.default_rng(seed).permutation(n_groups)[:n_selected]
    selected = np.isin(codes, chosen)
    return Split(np.flatnonzero(selected), np.flatnonzero(~selected), fraction, seed)


def require_disjoint(estimation_ids: Ids, test_ids: Ids, what: str) -> None:
    """Raise when data that fitted or centred something also tests it.

    A mean taken from the tested rows makes their centred mean zero by construction.

    Args:
        estimation_ids, test_ids: one id per row or prompt; integer arrays are fastest.
        what: what was estimated, for the message, such as "Reference mean".

    Raises:
        BadInputError: an id is on both sides; five are named.
        MismatchError: numbers on one side and text on the other, which never meet.
    """
    shared = _shared(estimation_ids, test_ids, what)
    if shared:
        named = ", ".join(map(str, heapq.nsmallest(5, shared, key=str)))
        raise BadInputError(
            f"{what}: the rows it was estimated on and the rows it is tested on must not overlap.",
            got=f"{len(shared)} shared: {named}{', ...' if len(shared) > 5 else ''}",
            fix="Split by group first (evidence.splits.split_by_group) and use one side for each.",
        )


def _shared(one: Ids, other: Ids, what: str) -> Collection[str | int]:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and one.dtype == other.dtype:
        common: list[str | int] = np.intersect1d(one, other).tolist()
        return common
    left, right = _as_set(one), _as_set(other)
    kinds = [{isinstance(name, str) for name in side} for side in (left, right)]
    if left and right and not kinds[0] & kinds[1]:
        raise MismatchError(
            f"{what}: the ids of the two sides are of different kinds, so that none can be shared.",
            got=["text" if True in kind else "numbers" for kind in kinds],
            fix="Name rows in the same way on both sides.",
        )
    return left & right


def _as_set(ids: Ids) -> set[str | int]:
    return set(ids.tolist() if isinstance(ids, np.ndarray) else ids)


def text_id(text: str) -> str:
    """What a prompt's words are told by: SHA-256 (hex), blind to case and spacing."""
    plain = " ".join(text.casefold().split())
    return hashlib.sha256(plain.encode()).hexdigest()


def require_unfitted(
    tested: Iterable[str], fitted_on: frozenset[str] | None, texts: Iterable[str] | None
) -> None:
    """Raise when a prompt that something was estimated on is tested.

    Args:
        tested: ids of the tested rows.
        fitted_on: ids (or `text_id`s) of what directions, means and thresholds were estimated on;
            None states that nothing was.
        texts: words of the tested rows, whose `text_id`s are looked for as well.

    Raises:
        BadInputError: a shared id or text, or an empty `fitted_on`: an oversight, or None.
    """
    if fitted_on is None:
        return
    if not fitted_on:
        raise BadInputError(
            "fitted_on names what directions and means were estimated on.",
            got="an empty set",
            fix="Pass the ids or text_id(text) of the contrast set; None where nothing was fitted.",
        )
    known = {*tested, *(text_id(text) for text in texts or ())}
    require_disjoint(fitted_on, known, "Directions, means and thresholds")
