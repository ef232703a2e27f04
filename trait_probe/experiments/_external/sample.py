"""Step 2: the sample, category by category, the same however the rows are ordered."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int, UInt64

from trait_probe.experiments._external.rows import Rows


def draw_sample(rows: Rows, per_category: int, seed: int) -> Int[np.ndarray, " sampled"]:
    """Ascending row numbers: so many unsafe rows of each category, and as many safe ones.

    Of each category up to `per_category` flagged rows, and as many safe rows of groups that are
    about it; as many unsafe rows without a category, and safe rows of groups without any. Rows
    whose group a vector was fitted on are never drawn. A row is drawn by the hash of its id.
    """
    order = np.argsort(_shuffled(rows, seed), kind="stable")
    chosen = np.zeros(len(order), dtype=np.bool_)
    for category in rows.categories:
        flagged = rows.flagged(category)
        for part in (flagged, rows.concerns(category) & ~rows.harmful):
            chosen |= _first(part & rows.usable, order, per_category)
    nothing = rows.about == 0
    for part in (rows.harmful & (rows.flags == 0), ~rows.harmful & nothing):
        chosen |= _first(part & rows.usable, order, per_category)
    return np.flatnonzero(chosen)


def _shuffled(rows: Rows, seed: int) -> UInt64[np.ndarray, " row"]:
    """A number per row that depends on its id and the seed alone."""
    mixed = rows.key ^ np.random.default_rng(seed).integers(2**63, dtype=np.uint64)
    # A multiplication by an odd number mixes low bits into high ones (Knuth's multiplicative hash).
    return np.asarray(mixed * np.uint64(0x9E3779B97F4A7C15))


def _first(
    part: Bool[np.ndarray, " row"], order: Int[np.ndarray, " row"], n: int
) -> Bool[np.ndarray, " row"]:
    """The first `n` rows of a part, in the order."""
    taken = np.zeros(len(order), dtype=np.bool_)
    taken[order[part[order]][:n]] = True
    return taken
