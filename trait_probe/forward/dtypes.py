"""What a smaller dtype does to projections, measured against float32 on the same prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trait_probe.forward.projections import Projections


def dtype_error(exact: Sequence[Projections], found: Sequence[Projections]) -> dict[str, Any]:
    """Differences of projections of the same tokens, per position rule and vector.

    Args:
        exact: one per position rule, in float32.
        found: the same prompts, rules and vectors in another dtype.

    Returns:
        `n_prompts`; `columns` with `dot_max` (largest absolute difference, activation units),
        `z_rms` and `z_max` (SD of the vector's reference) and `correlation`; and the `worst` of
        them by `z_rms`, or `unscored` where the rules select no token in the sample.
    """
    columns = [
        _column(one, other, index)
        for one, other in zip(exact, found, strict=True)
        for index in range(len(one.columns))
        if len(one.prompt)
    ]
    worst: dict[str, Any] = {"unscored": "the rules select no token in the sample"}
    if columns:
        worst = max(columns, key=lambda column: float(column["z_rms"]))
    return {"n_prompts": len(exact[0].prompt_ids), "worst": worst, "columns": columns}


def _column(exact: Projections, found: Projections, index: int) -> dict[str, Any]:
    dot = exact.dot[:, index].astype(np.float64) - found.dot[:, index]
    z = exact.z[:, index].astype(np.float64) - found.z[:, index]
    trait, site = exact.columns[index]
    varies = min(exact.dot[:, index].std(), found.dot[:, index].std()) > 0
    together = np.corrcoef(exact.dot[:, index], found.dot[:, index])[0, 1] if varies else None
    return {
        "trait": trait,
        "site": str(site),
        "span": exact.span,
        "rows": len(z),
        "dot_max": float(np.abs(dot).max()),
        "z_rms": float(np.sqrt((z**2).mean())),
        "z_max": float(np.abs(z).max()),
        "correlation": {"unscored": "no spread"} if together is None else float(together),
    }
