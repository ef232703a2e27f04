"""Step 3: each trait's projections as grids of scores, which the evidence layer reads."""

from __future__ import annotations

import numpy as np

from trait_probe.basis import Site
from trait_probe.errors import TraitProbeError
from trait_probe.evidence.trigger_reading import Grid
from trait_probe.experiments._backdoor.conditions import Conditions
from trait_probe.forward.projections import Projections


def grids(
    projections: Projections, conditions: Conditions, trait: str
) -> tuple[list[Grid], list[Site]]:
    """One trait's `dot` scores per place as `[condition carrier layer]`, and the layers' sites.

    Cells without a token hold 0 and are in no `Reading`.
    """
    columns = [i for i, (name, _) in enumerate(projections.columns) if name == trait]
    sites = [projections.columns[i][1] for i in columns]
    if projections.offset is None:
        raise TraitProbeError("Places are read token by token, not pooled.")
    rows = conditions.rows(
        projections.prompt, projections.offset, n_carriers=len(conditions.carriers)
    )
    values = projections.dot[:, columns]
    out = []
    for place in range(rows.shape[2]):
        present = rows[:, :, place] >= 0
        grid = np.zeros((*rows.shape[:2], len(columns)), dtype=np.float32)
        grid[present] = values[rows[:, :, place][present]]
        out.append(grid)
    return out, sites
