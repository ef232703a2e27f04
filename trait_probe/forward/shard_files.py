"""The files of a run of shards: what they say of themselves, and projections read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors import safe_open

from trait_probe.forward.projections import Projections
from trait_probe.forward.tables import span_name
from trait_probe.runs.tables import read_table

METADATA = "trait_probe"
ACTIVATIONS_SCHEMA = "trait_probe.activations/1"


def shard_metadata(path: Path) -> dict[str, Any]:
    """What a shard says of itself: its first prompt's index, ids and hash of its prompts."""
    if path.suffix == ".parquet":
        about: dict[str, Any] = json.loads(pq.read_schema(path).metadata[METADATA.encode()])
        return about
    with safe_open(path, "pt") as file:
        return dict(file.metadata())


def load_shard(path: Path, position: str, pooling: str) -> Projections | None:
    """One shard's projections at one rule; None where the rule selects nothing in its prompts."""
    table = read_table(path)
    own = table.filter(pc.equal(table["span"].cast(pa.string()), span_name(position, pooling)))
    if not len(own):
        return None
    return Projections.from_table(own, prompt_ids=shard_metadata(path)["prompt_ids"])
