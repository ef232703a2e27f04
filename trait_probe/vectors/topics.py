"""The direction along which the topics of prompt pairs differ: what a harm direction is held to.

Pairs of a harmful and a benign prompt about the same thing differ between each other in their
topic. A direction that tells topics apart may tell harmful from benign prompts as well; the harm
direction has to do better.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32

from trait_probe.errors import BadInputError
from trait_probe.evidence.crossed import pair_means

FEWEST_PAIRS = 3


def topic_direction(
    rows: Float32[np.ndarray, "row d_model"], labels: Bool[np.ndarray, " row"], pairs: Sequence[str]
) -> Float32[np.ndarray, " d_model"]:
    """Unit first principal component of the pairs' mid-points, apart from what sides differ by.

    The mid-point of a pair is (positive + negative) / 2; the mean of positive - negative is taken
    out of all of them. A model that recognizes the harm of some topics only moves the mid-points of
    those along harm: in organism:base the component was the harm direction (cosine 0.98 at the
    assistant header), and no foil. Its sign means nothing; it is fixed, so that the same rows give
    the same numbers everywhere. Fit it on rows that report nothing.

    Raises:
        BadInputError: fewer than three pairs, a pair that lacks a side, or mid-points that are all
            the same.
    """
    both = pair_means(rows, labels, pairs)
    middle = _apart((both.positive + both.negative) / 2, both.difference.mean(axis=0))
    if len(middle) < FEWEST_PAIRS:
        raise BadInputError(
            "A topic direction needs three pairs or more.", got=f"{len(middle)} pairs"
        )
    _, scales, components = np.linalg.svd(middle - middle.mean(axis=0), full_matrices=False)
    if scales[0] <= 1e-9 * np.abs(middle).max():
        raise BadInputError(
            "The pairs' mid-points are all the same, so that no topic can be told.",
            got=f"{len(middle)} pairs",
            fix="Read another place, or give pairs about different things.",
        )
    component = components[0]
    sign = 1.0 if component[np.abs(component).argmax()] > 0 else -1.0
    return np.asarray(sign * component, dtype=np.float32)


def _apart(
    rows: Float[np.ndarray, "pair d_model"], direction: Float[np.ndarray, " d_model"]
) -> Float[np.ndarray, "pair d_model"]:
    """Rows without their part along a direction (all of them where it is zero)."""
    size = float(np.linalg.norm(direction))
    if size == 0.0:
        return rows
    unit = direction / size
    return np.asarray(rows - np.outer(rows @ unit, unit))
