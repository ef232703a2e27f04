"""What is done with each chunk of prompts, as plain data that another process can be given."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import torch
from safetensors.torch import save
from torch import Tensor

from trait_probe.basis import Site
from trait_probe.forward.budget import BatchBudget
from trait_probe.forward.engine import Part, Reading, Rows, read_rules
from trait_probe.forward.project import project_rendered, token_names
from trait_probe.forward.projections import Projections
from trait_probe.forward.rendering import render_for
from trait_probe.hooks.capture import raw
from trait_probe.hooks.sites import resolve_all
from trait_probe.identity import HookedModel, identify
from trait_probe.prompts.positions import Pooling, PositionRule
from trait_probe.prompts.prompt import Prompt
from trait_probe.prompts.render import Rendered, Truncate
from trait_probe.prompts.stream import Chunk, ChunkLimit
from trait_probe.runs.files import canonical_sha256
from trait_probe.runs.tables import parquet_bytes
from trait_probe.vectors.vector import VectorSet

SHARD_PROMPTS = 4096
"""Prompts of a shard, unless their results would be more than this many numbers:"""
SHARD_NUMBERS = 2**22
SHARD_CHARACTERS = 2**23
METADATA = "trait_probe"
ACTIVATIONS_SCHEMA = "trait_probe.activations/1"


@dataclass(frozen=True)
class Ready:
    """A chunk's prompts, rendered, and the hash of what they were."""

    rendered: list[Rendered]
    sha256: str


@dataclass(frozen=True)
class Finished:
    """A chunk's results as the bytes of a file.

    Attributes:
        data: the file.
        rows: rows of results in it.
        tokens: tokens that the model read for it.
    """

    data: bytes
    rows: int
    tokens: int


class Work(Protocol):
    """One kind of job over chunks."""

    @property
    def positions(self) -> tuple[str, ...]:
        """The position rules that are read."""

    @property
    def truncate(self) -> Truncate | None:
        """What is cut from prompts longer than the context."""

    def check(self, model: HookedModel) -> None:
        """Refuse a model that the job does not fit, before anything runs."""

    def limit(self, shard_prompts: int) -> ChunkLimit:
        """Where chunks end, so that a chunk's results fit the memory."""

    def file(self, index: int) -> str:
        """Name of the chunk's file within the run."""

    def compute(
        self, model: HookedModel, chunk: Chunk, ready: Ready, budget: BatchBudget
    ) -> Finished:
        """Run the chunk."""


def make_ready(model: HookedModel, work: Work, chunk: Chunk) -> Ready:
    """Draw and render a chunk; done ahead of the forward passes."""
    prompts = chunk.load()
    return Ready(render_for(model, prompts, truncate=work.truncate), prompts_sha256(prompts))


def prompts_sha256(prompts: Sequence[Prompt]) -> str:
    """SHA-256 (hex) of the prompts' content in order."""
    digest = hashlib.sha256()
    for prompt in prompts:
        digest.update(canonical_sha256(prompt.to_dict()).encode())
    return digest.hexdigest()


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
        self.vectors.check(identify(model), lineage_ok=self.lineage_ok)
        resolve_all(model, self.vectors.sites)

    def limit(self, shard_prompts: int) -> ChunkLimit:
        """At most `SHARD_NUMBERS` projections a chunk."""
        return limit_of(self.positions, self.pooling, len(self.vectors), shard_prompts)

    def file(self, index: int) -> str:
        """`projections/00000000.parquet`."""
        return f"projections/{index:08d}.parquet"

    def compute(
        self, model: HookedModel, chunk: Chunk, ready: Ready, budget: BatchBudget
    ) -> Finished:
        """Project the chunk in one pass for all rules."""
        found = project_rendered(
            model,
            ready.rendered,
            self.vectors,
            self.positions,
            self.pooling,
            budget=budget,
            part=_part(chunk),
        )
        return projections_shard(found, chunk.first, ready.sha256, n_tokens(ready.rendered))


def projections_shard(
    found: Sequence[Projections], first: int, prompts_sha256: str, tokens: int
) -> Finished:
    """The Parquet file of one chunk's projections, rule after rule."""
    table = pa.concat_tables([one.to_table() for one in found]).unify_dictionaries()
    about = {"first": first, "sha256": prompts_sha256, "prompt_ids": list(found[0].prompt_ids)}
    table = table.replace_schema_metadata({METADATA: json.dumps(about)})
    return Finished(parquet_bytes(table), table.num_rows, tokens)


@dataclass(frozen=True)
class Capturing:
    """Keep raw activations; one safetensors file a chunk.

    Tokens are kept in the model's own dtype, pooled rows in float32. `d_model` is the model's
    width, for the size of a chunk.
    """

    sites: tuple[Site, ...]
    position: str
    pooling: Pooling = "none"
    truncate: Truncate | None = None
    d_model: int = 1024

    @property
    def positions(self) -> tuple[str, ...]:
        """The one rule."""
        return (self.position,)

    def check(self, model: HookedModel) -> None:
        """Refuse a model that lacks a site."""
        resolve_all(model, self.sites)

    def limit(self, shard_prompts: int) -> ChunkLimit:
        """At most eight times `SHARD_NUMBERS` numbers a chunk."""
        columns = max(len(self.sites) * self.d_model // 8, 1)
        return limit_of(self.positions, self.pooling, columns, shard_prompts)

    def file(self, index: int) -> str:
        """`activations/00000000.safetensors`."""
        return f"activations/{index:08d}.safetensors"

    def compute(
        self, model: HookedModel, chunk: Chunk, ready: Ready, budget: BatchBudget
    ) -> Finished:
        """Read the chunk."""
        (rows,) = read_rules(
            model,
            ready.rendered,
            dict.fromkeys(self.sites, raw),
            positions=self.positions,
            pooling=self.pooling,
            batch_tokens=budget,
            part=_part(chunk),
            label=None,
        )
        about = {"schema": ACTIVATIONS_SCHEMA, "first": str(chunk.first), "sha256": ready.sha256}
        about["prompt_ids"] = json.dumps([item.prompt_id for item in ready.rendered])
        tensors = self._tensors(rows, identify(model).dtype)
        if isinstance(rows, Reading):
            names = token_names(model, ready.rendered, rows)
            known = sorted(set(names))
            code = {name: number for number, name in enumerate(known)}
            tensors["token"] = torch.tensor([code[name] for name in names], dtype=torch.int64)
            about["tokens"] = json.dumps(known)
        data = save(tensors, about)
        return Finished(data, len(rows.prompt), n_tokens(ready.rendered))

    def _tensors(self, rows: Rows, dtype: str) -> dict[str, Tensor]:
        stored = getattr(torch, dtype) if self.pooling == "none" else torch.float32
        tensors = {
            str(site): torch.from_numpy(values).to(stored) for site, values in rows.values.items()
        }
        tensors["prompt"] = torch.from_numpy(rows.prompt)
        if isinstance(rows, Reading):
            tensors["position"] = torch.from_numpy(rows.position)
            tensors["offset"] = torch.from_numpy(rows.offset)
        return tensors


def limit_of(
    positions: Sequence[str], pooling: Pooling, columns: int, shard_prompts: int
) -> ChunkLimit:
    """A chunk of at most `SHARD_NUMBERS` results with `columns` numbers a row."""
    rows = max(SHARD_NUMBERS // columns, 1)
    most = [most_rows(rule, pooling) for rule in positions]
    bounded = sum(number for number in most if number is not None)
    prompts = min(shard_prompts, max(rows // max(bounded, 1), 1))
    # A token is at least one character: so many characters give no more rows.
    characters = min(rows, SHARD_CHARACTERS) if None in most else SHARD_CHARACTERS
    return ChunkLimit(prompts, characters)


def most_rows(rule: str, pooling: Pooling) -> int | None:
    """Rows that the rule can give in one prompt; None where it depends on the prompt."""
    parsed = PositionRule.parse(rule)
    if pooling != "none" or parsed.index is not None:
        return 1
    if parsed.stop is not None and parsed.stop > 0 and parsed.start >= 0:
        return max(len(range(parsed.start, parsed.stop, parsed.step)), 1)
    if parsed.stop is None and parsed.start < 0:
        return max(len(range(0, -parsed.start, parsed.step)), 1)
    return None


def n_tokens(rendered: Sequence[Rendered]) -> int:
    """Tokens of all prompts."""
    return sum(len(item.token_ids) for item in rendered)


def _part(chunk: Chunk) -> Part:
    return Part(chunk.first, chunk.first + chunk.count)
