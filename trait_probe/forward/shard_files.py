"""The files of a run of shards: what they say of themselves, and projections read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors import safe_open

from trait_probe.basis import Site
from trait_probe.errors import BadInputError
from trait_probe.forward.projections import Projections
from trait_probe.forward.tables import span_name
from trait_probe.prompts.positions import Pooling
from trait_probe.runs.files import file_sha256
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


def load_shard(path: Path, position: str, pooling: Pooling) -> Projections:
    """One shard's projections at one rule; without rows where it selects nothing in its prompts."""
    table, about = read_table(path), shard_metadata(path)
    own = table.filter(pc.equal(table["span"].cast(pa.string()), span_name(position, pooling)))
    if len(own):
        return Projections.from_table(own, prompt_ids=about["prompt_ids"])
    columns = tuple((trait, Site.parse(site)) for trait, site in about["columns"])
    nothing = np.zeros((0, len(columns)), dtype=np.float32)
    no_rows = np.zeros(0, dtype=np.int64)
    per_token = pooling == "none"
    return Projections(
        prompt_ids=tuple(about["prompt_ids"]),
        columns=columns,
        span=position,
        pooling=pooling,
        prompt=no_rows,
        position=no_rows if per_token else None,
        offset=no_rows if per_token else None,
        token=() if per_token else None,
        dot=nothing,
        z=nothing,
    )


def require_intact(folder: Path, name: str, sha256: str) -> Path:
    """The path of a finished shard, once its bytes are those that were written.

    Raises:
        BadInputError: the file is gone or damaged.
    """
    path = folder / name
    if not path.is_file() or file_sha256(path) != sha256:
        raise BadInputError(
            f"{path} is missing or damaged: it is not what the run wrote.",
            fix="Give the run's command again; it computes that shard anew.",
        )
    return path
