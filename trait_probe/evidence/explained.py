"""The share of the variation of many columns that a prediction explains on unseen rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from trait_probe.errors import MismatchError
from trait_probe.evidence._arrays import as_finite, require_same_length
from trait_probe.evidence.bootstrap import cluster_bootstrap
from trait_probe.evidence.estimate import Estimate, Unscored

_ROUNDING = 1e-12  # of the squared size of the rows: less variance than this is none


def explained_share(
    actual: Float[np.ndarray, "row column"], predicted: Float[np.ndarray, "_row _column"]
) -> float | Unscored:
    """Multivariate R2: 1 - squared residuals / squared distances from the rows' mean; at most 1.

    Sums run over all columns, so that each weighs by its variance. Below 0 the prediction is worse
    than the mean of these very rows; a prediction of no use lies slightly below 0.

    Raises:
        BadInputError: no rows, or not finite.
        MismatchError: the shapes differ.
    """
    rows, errors = _checked(actual, predicted)
    total = float((rows**2).sum())
    if total <= _ROUNDING * float((actual.astype(np.float64) ** 2).sum()):
        return Unscored("the rows do not vary: there is nothing to explain")
    return 1.0 - float(errors.sum()) / total


def explained_variance(
    actual: Float[np.ndarray, "row column"],
    predicted: Float[np.ndarray, "_row _column"],
    clusters: Sequence[str],
    *,
    n_boot: int = 1000,
    seed: int = 0,
) -> Estimate | Unscored:
    """`explained_share` with a cluster bootstrap interval; Unscored where the rows do not vary.

    The mean that the total is measured from is that of each resample.

    Raises:
        BadInputError: fewer than two clusters, or not finite.
        MismatchError: the shapes differ, or `clusters` has not one entry per row.
    """
    require_same_length(len(actual), clusters, "clusters")
    value = explained_share(actual, predicted)
    if isinstance(value, Unscored):
        return value
    rows, errors = _checked(actual, predicted)
    coordinates = isometric(rows)
    squares = (rows**2).sum(axis=1)

    def share(drawn: Int[np.ndarray, " row"]) -> float:
        counts = np.bincount(drawn, minlength=len(rows)).astype(np.float64)
        total = counts @ squares - ((counts @ coordinates) ** 2).sum() / len(drawn)
        # A resample of one cluster many times may not vary: nothing was there to explain.
        return 1.0 - float(counts @ errors / total) if total > 0 else 0.0

    return cluster_bootstrap(share, clusters, n_boot=n_boot, seed=seed, unit="share of variance")


def isometric(rows: Float[np.ndarray, "row column"]) -> Float[np.ndarray, "row _axis"]:
    """The rows in at most as many columns as there are rows, all lengths and angles kept.

    Sums of squares over 8192 columns of 500 rows cost 16 times what they need to.
    """
    if rows.shape[1] <= rows.shape[0]:
        return rows
    return np.ascontiguousarray(np.transpose(np.linalg.qr(rows.T, mode="r")))


def _checked(
    actual: Float[np.ndarray, "row column"], predicted: Float[np.ndarray, "_row _column"]
) -> tuple[Float[np.ndarray, "row column"], Float[np.ndarray, " row"]]:
    """The rows, centred, and the squared length of each row's residual."""
    rows = as_finite(actual, "The rows")
    found = as_finite(predicted, "The predictions")
    if rows.shape != found.shape:
        raise MismatchError(
            "A prediction has the shape of what it predicts.",
            got=found.shape,
            valid=[rows.shape],
            fix="Predict the same rows and columns.",
        )
    return rows - rows.mean(axis=0), ((rows - found) ** 2).sum(axis=1)
