"""What a run of projections found, in a few numbers for each vector and position rule."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trait_probe.forward.shard_files import shard_metadata
from trait_probe.runs.tables import read_table

SCHEMA = "trait_probe.projections/1"


@dataclass
class _Column:
    """Count, mean and sum of squares about it, merged shard by shard in float64."""

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, values: np.ndarray) -> None:
        n, mean = len(values), float(values.mean())
        shift, total = mean - self.mean, self.n + n
        self.squares += float(((values - mean) ** 2).sum()) + shift**2 * self.n * n / total
        self.mean += shift * n / total
        self.n = total
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))


def summarize(shards: Iterable[Path]) -> dict[str, Any]:
    """Prompts, and per vector and rule the number of rows and the distribution of z (in SD).

    Shards are read one by one, in order, so that equal shards give equal bytes.
    """
    columns: dict[tuple[str, str, str], _Column] = {}
    prompts = 0
    for path in shards:
        prompts += len(shard_metadata(path)["prompt_ids"])
        table = read_table(path).unify_dictionaries().combine_chunks()
        if not len(table):
            continue
        z = table["z"].to_numpy().astype(np.float64)
        names = [table[key].combine_chunks() for key in ("trait", "site", "span")]
        codes = np.stack([name.indices.to_numpy() for name in names])
        # A vector's lines are neighbours: the places where any name changes are its borders.
        borders = np.flatnonzero((codes[:, 1:] != codes[:, :-1]).any(axis=0)) + 1
        for block in np.split(np.arange(len(z)), borders):
            trait, site, span = (
                name.dictionary[code].as_py()
                for name, code in zip(names, codes[:, block[0]].tolist(), strict=True)
            )
            columns.setdefault((trait, site, span), _Column()).add(z[block])
    return {
        "schema": SCHEMA,
        "n_prompts": prompts,
        "columns": [
            {"trait": trait, "site": site, "span": span, **_figures(column)}
            for (trait, site, span), column in sorted(columns.items())
        ],
    }


def _figures(column: _Column) -> dict[str, Any]:
    spread = math.sqrt(column.squares / (column.n - 1)) if column.n > 1 else None
    return {
        "rows": column.n,
        "z_mean": column.mean,
        "z_sd": spread if spread is not None else {"unscored": "a single row has no spread"},
        "z_min": column.low,
        "z_max": column.high,
    }
