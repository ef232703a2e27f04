"""What a smaller dtype does to projections, measured against float32 on the same prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trait_probe.forward.projections import Projections


def dtype_error(
    exact: Mapping[str, Projections], found: Mapping[str, Projections]
) -> dict[str, Any]:
    """Differences of projections of the same tokens, per position rule and vector.

    Args:
        exact: by position rule, in float32.
        found: the same prompts, rules and vectors in another dtype.

    Returns:
        `n_prompts`; `columns` with `dot_max` (largest absolute difference, activation units),
        `z_rms` and `z_max` (SD of the vector's reference) and `correlation`; and the `worst` of
        them by `z_rms`.
    """
    columns = [
        _column(rule, one, found[rule], index)
        for rule, one in exact.items()
        for index in range(len(one.columns))
        if len(one.prompt)
    ]
    first = next(iter(exact.values()))
    return {
        "n_prompts": len(first.prompt_ids),
        "worst": max(columns, key=lambda column: float(column["z_rms"])),
        "columns": columns,
    }


def _column(rule: str, exact: Projections, found: Projections, index: int) -> dict[str, Any]:
    dot = exact.dot[:, index].astype(np.float64) - found.dot[:, index]
    z = exact.z[:, index].astype(np.float64) - found.z[:, index]
    trait, site = exact.columns[index]
    varies = min(exact.dot[:, index].std(), found.dot[:, index].std()) > 0
    together = np.corrcoef(exact.dot[:, index], found.dot[:, index])[0, 1] if varies else None
    return {
        "trait": trait,
        "site": str(site),
        "span": rule,
        "rows": len(z),
        "dot_max": float(np.abs(dot).max()),
        "z_rms": float(np.sqrt((z**2).mean())),
        "z_max": float(np.abs(z).max()),
        "correlation": {"unscored": "no spread"} if together is None else float(together),
    }
