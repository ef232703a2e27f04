"""p values of many looks: traits x layers x positions. Print how many there were."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from trait_probe.errors import BadInputError
from trait_probe.evidence._arrays import as_finite


def holm(p: Float[np.ndarray, " column"]) -> Float[np.ndarray, " column"]:
    """Holm's (1979) adjusted p values: `<= alpha` bounds the chance of any false one by alpha.

    Raises:
        BadInputError: a p value outside [0, 1], or none.
    """
    values = _p_values(p)
    order = np.argsort(values, kind="stable")
    factors = len(values) - np.arange(len(values))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return adjusted


def benjamini_hochberg(p: Float[np.ndarray, " column"]) -> Float[np.ndarray, " column"]:
    """Benjamini & Hochberg's (1995) adjusted p values: `<= q` bounds the share of false ones.

    Valid for independent or positively dependent tests.

    Raises:
        BadInputError: a p value outside [0, 1], or none.
    """
    values = _p_values(p)
    order = np.argsort(values, kind="stable")[::-1]
    factors = len(values) / np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.minimum.accumulate(values[order] * factors), 1.0)
    return adjusted


def max_statistic_p(
    observed: Float[np.ndarray, " column"], null: Float[np.ndarray, "draw column"]
) -> Float[np.ndarray, " column"]:
    """Westfall & Young's (1993) single-step p: how often the largest null look reaches each.

    Bounds the chance of any false one by alpha whatever the dependence, if the draws of one row
    come from one relabeling. Larger is more extreme (pass absolute values for two sides), and
    columns must share a scale (t, z, AUROC), or the noisiest one decides.

    Raises:
        BadInputError: no draws, or entries that are not finite.
    """
    values = as_finite(observed, "The observed statistics")
    largest = as_finite(null, "The null").max(axis=1)
    # Equality within rounding counts as reached: relabelings sum in another order.
    rounding = 1e-12 * max(float(np.abs(values).max()), float(np.abs(largest).max()))
    reached = (largest[:, None] >= values - rounding).sum(axis=0)
    return np.asarray((1 + reached) / (1 + len(largest)))


def _p_values(p: Float[np.ndarray, " column"]) -> Float[np.ndarray, " column"]:
    values = as_finite(p, "The p values")
    if values.min() < 0.0 or values.max() > 1.0:
        raise BadInputError(
            "p values must lie between 0 and 1.",
            got=(float(values.min()), float(values.max())),
            fix="Pass p values, not statistics.",
        )
    return values
