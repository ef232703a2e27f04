"""Controls that control nothing: constants, copies, the base model once more.

What a study is compared with comes from outside. A direction that scores every prompt alike, a
"fine-tune" that is its base with rounding noise, or one random direction handed in five hundred
times would be beaten by anything; none of them counts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from trait_probe.evidence.studies.models import Grid, ModelScores

TINY = 1e-6  # of the size of the values: rounding
ALIKE = (0.05, 0.95)  # rows between these quantiles
SAME_MODEL = 0.01
"""SD of the base's prompts; fine-tunes that differ in their seed alone differ by 0.03 and more."""


def constant(values: Float[np.ndarray, " row"]) -> bool:
    """Whether nine rows in ten are scored alike, up to rounding."""
    low, high = np.quantile(values, ALIKE)
    return bool(high - low <= TINY * np.abs(values).max())


def sketch(scores: Float[np.ndarray, "row column"]) -> Float[np.ndarray, "sum column"]:
    """What tells one column from another, and not one machine's rounding.

    Four fixed weighted sums of each standardized column; a constant column gives zeros.
    """
    rows = scores.astype(np.float64)
    sd = rows.std(axis=0)
    sd = np.where(sd > TINY * np.abs(rows).max(axis=0, initial=0.0), sd, np.inf)
    weights = np.cos(np.outer(np.arange(1, 5), np.arange(1, len(rows) + 1)))
    return np.asarray(weights @ ((rows - rows.mean(axis=0)) / sd) / math.sqrt(len(rows)))


def distinct_draws(null: Float[np.ndarray, "row place draw"]) -> Int[np.ndarray, " kept"]:
    """Numbers of the draws that vary over rows and are no copies of an earlier one."""
    rows, places, draws = null.shape
    told = sketch(null.reshape(rows, -1)).reshape(-1, places, draws)
    told = np.round(told, 3).reshape(-1, draws) + 0.0  # no negative zero
    _, first = np.unique(told, axis=1, return_index=True)
    return np.sort(first[np.abs(told[:, first]).max(axis=0) > 0.0])


def distinct(
    null: Float[np.ndarray, "row place draw"],
) -> Float[np.ndarray, "row place kept"]:
    """The `distinct_draws`, if any."""
    return np.asarray(null[:, :, distinct_draws(null)])


def distinct_models(null: ModelScores) -> ModelScores:
    """Null directions in several models, without those that are constants or copies in the base."""
    kept = distinct_draws(null.base)
    base, variant, *controls = (
        np.asarray(grid[:, :, kept]) for grid in (null.base, null.variant, *null.controls)
    )
    return ModelScores(base, variant, tuple(controls))


def no_fine_tune(models: ModelScores, selection: Int[np.ndarray, " _selection"]) -> str | None:
    """Why a control is none: it gives what the base gives, or what another control gives."""
    unit = models.unit(selection)
    for number, control in enumerate(models.controls, start=1):
        if _same(control, models.base, unit):
            return f"control model {number} gives what the base gives: no fine-tune"
    numbered: Sequence[tuple[int, Grid]] = list(enumerate(models.controls, start=1))
    for (one, first), (two, second) in itertools.combinations(numbered, 2):
        if _same(first, second, unit):
            return f"control models {one} and {two} give the same: they count once"
    return None


def _same(one: Grid, two: Grid, unit: Float[np.ndarray, " place"]) -> bool:
    """Whether rows differ by less than `SAME_MODEL` (root mean square) at every place."""
    apart = np.sqrt(((one.astype(np.float64) - two) ** 2).mean(axis=0)) / unit
    return bool(apart.max() < SAME_MODEL)
