"""Checks that every statistic makes on its arrays before it computes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from trait_probe.errors import BadInputError, MismatchError


def as_finite(
    values: Float[np.ndarray, ...], what: str, *, at_least: int = 1
) -> Float[np.ndarray, ...]:
    """`values` in float64, checked for length along the first axis and for finite entries."""
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub" or not values.ndim:
        got = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
        raise BadInputError(
            f"{what} must be a numpy array of numbers with one entry per row.",
            got=got,
            fix="Pass np.asarray(values, dtype=float).",
        )
    if values.shape[0] < at_least:
        raise BadInputError(
            f"{what} needs at least {at_least} rows.",
            got=int(values.shape[0]),
            fix="Add data, or report Unscored(reason).",
        )
    bad = int(values.size - np.isfinite(values).sum())
    if bad:
        raise BadInputError(
            f"{what} must be finite.",
            got=f"{bad} of {values.size} entries are NaN or infinite",
            fix="Find where they arise; leave unscored rows out and count them.",
        )
    return values.astype(np.float64)


def require_fraction(value: float, what: str) -> None:
    """Raise unless `value` lies strictly between 0 and 1."""
    if not 0.0 < value < 1.0:
        raise BadInputError(
            f"{what} must lie strictly between 0 and 1.",
            got=value,
            fix="Pass a share, such as 0.5.",
        )


def require_count(value: int, minimum: int, what: str) -> None:
    """Raise unless `value` is a whole number of `minimum` or more."""
    if value < minimum or value != int(value):
        raise BadInputError(
            f"{what} must be at least {minimum}.", got=value, fix=f"Raise it to {minimum} or more."
        )


def require_same_length(n: int, names: Sequence[str], what: str) -> None:
    """Raise unless `names` has one entry per row."""
    if len(names) != n:
        raise MismatchError(
            f"{what} must have one entry per row.",
            got=f"{len(names)} entries for {n} rows",
            fix="Build both from the same table.",
        )


def cluster_codes(names: Sequence[str]) -> tuple[Int[np.ndarray, " prompt"], int]:
    """Cluster number of each row (in sorted name order, so row order is irrelevant) and count."""
    _, codes = np.unique(np.asarray(names, dtype=np.str_), return_inverse=True)
    codes = codes.astype(np.int64).reshape(-1)
    return codes, int(codes.max()) + 1 if codes.size else 0


def effective_clusters(names: Sequence[str]) -> float:
    """Clusters of equal size that hold as much: (sum n)^2 / sum n^2 (Kish 1965); 0 for none.

    Intervals over clusters fail where one holds most rows: with 8 of sizes 60, 2, ..., 2 an
    interval that should err in 2.5 % of cases does in 30 %.
    """
    if not names:
        return 0.0
    sizes = np.bincount(cluster_codes(names)[0]).astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def count_at_least(value: float, null: Float[np.ndarray, " draw"]) -> int:
    """Draws that reach `value`; equality within rounding counts, since the sum order may differ.

    A value that is not finite would be reached by no draw and look extreme: it is refused.
    """
    if not np.isfinite(value):
        raise BadInputError(
            "The observed statistic must be finite.", got=value, fix="Report Unscored(reason)."
        )
    largest = max(abs(value), float(np.abs(null).max()))
    return int((null >= value - 1e-12 * largest).sum())
