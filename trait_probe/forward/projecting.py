"""The job of projecting: each chunk of prompts becomes one Parquet file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from trait_probe.errors import BadInputError
from trait_probe.forward.budget import BatchBudget
from trait_probe.forward.projections import Projections
from trait_probe.forward.repeats import (
    Repeats,
    by_prompt,
    keys_from_text,
    keys_to_text,
    project_once,
)
from trait_probe.forward.shard_files import METADATA, load_shard, shard_metadata
from trait_probe.forward.work import Finished, limit_of, n_tokens, part_of
from trait_probe.hooks.rows import is_edited
from trait_probe.hooks.sites import resolve_all
from trait_probe.identity import HookedModel, identify
from trait_probe.prompts.positions import Pooling, check_pooling, parse_rules
from trait_probe.prompts.render import Rendered, Truncate
from trait_probe.prompts.stream import Chunk, ChunkLimit
from trait_probe.runs.tables import parquet_bytes
from trait_probe.vectors.vector import VectorSet


@dataclass(frozen=True)
class Projecting:
    """Project onto vectors; one Parquet file a chunk (`trait_probe.forward.tables.SCHEMA`)."""

    vectors: VectorSet
    positions: tuple[str, ...]
    pooling: Pooling = "none"
    truncate: Truncate | None = None
    lineage_ok: bool = False

    def check(self, model: HookedModel) -> None:
        """Refuse a model whose basis is not the vectors'."""
        if not self.vectors:
            raise BadInputError("There are no vectors to project onto.", fix="Give at least one.")
        self.vectors.check(identify(model), lineage_ok=self.lineage_ok)
        resolve_all(model, self.vectors.sites)
        parse_rules(self.positions)
        check_pooling(self.pooling)

    def limit(self, shard_prompts: int) -> ChunkLimit:
        """At most `SHARD_NUMBERS` projections a chunk."""
        return limit_of(self.positions, self.pooling, len(self.vectors), shard_prompts)

    def file(self, index: int) -> str:
        """`projections/00000000.parquet`."""
        return f"projections/{index:08d}.parquet"

    def compute(
        self,
        model: HookedModel,
        chunk: Chunk,
        rendered: list[Rendered],
        budget: BatchBudget,
        repeats: Repeats | None = None,
        total: int | None = None,
    ) -> Finished:
        """Project the chunk in one pass for all rules."""
        # An edit may treat each prompt apart: then equal prompts are not equal.
        memory = Repeats(self.positions, 0) if repeats is None or is_edited(model) else repeats
        found, keys = project_once(
            model,
            rendered,
            self.vectors,
            self.positions,
            self.pooling,
            budget=budget,
            part=part_of(chunk, total),
            repeats=memory,
        )
        about = {"first": chunk.first, "sha256": chunk.sha256, "keys": keys_to_text(keys)}
        return projections_shard(found, about, n_tokens(rendered))

    def memory(self) -> Repeats | None:
        """An empty memory of prompts."""
        return Repeats(self.positions)

    def recall(self, path: Path, repeats: Repeats) -> None:
        """Remember what a finished chunk's file says."""
        about = shard_metadata(path)
        found = [load_shard(path, position, self.pooling) for position in self.positions]
        keys = keys_from_text(about["keys"])
        repeats.add(keys, by_prompt(found, len(keys)))


def projections_shard(
    found: Sequence[Projections], about: Mapping[str, Any], tokens: int
) -> Finished:
    """The Parquet file of one chunk's projections, rule after rule."""
    table = pa.concat_tables([one.to_table() for one in found]).unify_dictionaries()
    columns = [[trait, str(site)] for trait, site in found[0].columns]
    described = {**about, "columns": columns, "prompt_ids": list(found[0].prompt_ids)}
    table = table.replace_schema_metadata({METADATA: json.dumps(described)})
    return Finished(parquet_bytes(table), table.num_rows, tokens)
