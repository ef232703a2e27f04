"""Measured answers as stages of the run: computed once, read back the same."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa

from trait_probe.runs.rundir import Run
from trait_probe.vectors.panel import Measured, Panel, measure
from trait_probe.vectors.steered import Steerings


def measured(run: Run, name: str, panel: Panel, steerings: Steerings) -> Measured:
    """`measure` over all questions of the panel, as the stage `name`."""
    return from_table(run.stage(name, lambda: to_table(panel, measure(panel, steerings))))


def to_table(panel: Panel, found: Measured) -> pa.Table:
    """One row per steering and question; what belongs to a steering is repeated."""
    n, width = found.trait.shape
    rows = list(itertools.product(range(n), range(width)))
    table = pa.table(
        {
            "steering": pa.array([i for i, _ in rows], pa.int32()),
            "prompt_id": [panel.questions[j].id for _, j in rows],
            "answer": [found.texts[i][j] for i, j in rows],
            "trait": found.trait.reshape(-1),
            "coherence": found.coherence.reshape(-1),
            "scored": found.scored.reshape(-1),
            "cut": found.cut.reshape(-1),
            "kl": np.repeat(found.kl, width),
        }
    )
    told = {"tokens": str(found.tokens), "reasons": "\n".join(found.reasons)}
    return table.replace_schema_metadata(told)


def from_table(table: pa.Table) -> Measured:
    """What `to_table` wrote."""
    n = int(np.max(table["steering"].to_numpy())) + 1
    shape = (n, len(table) // n)
    texts = table["answer"].to_pylist()
    told = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    return Measured(
        trait=table["trait"].to_numpy().reshape(shape),
        coherence=table["coherence"].to_numpy().reshape(shape),
        scored=table["scored"].to_numpy(zero_copy_only=False).reshape(shape),
        cut=table["cut"].to_numpy(zero_copy_only=False).reshape(shape),
        texts=tuple(tuple(texts[i * shape[1] : (i + 1) * shape[1]]) for i in range(n)),
        kl=table["kl"].to_numpy().reshape(shape)[:, 0].copy(),
        tokens=int(told["tokens"]),
        reasons=tuple(line for line in told["reasons"].split("\n") if line),
    )
