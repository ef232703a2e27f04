"""The job of keeping raw activations: each chunk of prompts becomes one safetensors file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from trait_probe.basis import Site
from trait_probe.forward.budget import BatchBudget
from trait_probe.forward.engine import Reading, Rows, read_rules, select
from trait_probe.forward.project import token_names
from trait_probe.forward.repeats import Repeats
from trait_probe.forward.shard_files import ACTIVATIONS_SCHEMA
from trait_probe.forward.work import Finished, limit_of, n_tokens, part_of
from trait_probe.hooks.capture import raw
from trait_probe.hooks.sites import resolve_all
from trait_probe.identity import HookedModel, identify
from trait_probe.prompts.positions import Pooling, check_pooling, parse_rules
from trait_probe.prompts.render import Rendered, Truncate
from trait_probe.prompts.stream import Chunk, ChunkLimit


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
        parse_rules(self.positions)
        check_pooling(self.pooling)

    def limit(self, shard_prompts: int) -> ChunkLimit:
        """At most eight times `SHARD_NUMBERS` numbers a chunk."""
        columns = max(len(self.sites) * self.d_model // 8, 1)
        return limit_of(self.positions, self.pooling, columns, shard_prompts)

    def file(self, index: int) -> str:
        """`activations/00000000.safetensors`."""
        return f"activations/{index:08d}.safetensors"

    def memory(self) -> Repeats | None:
        """None: activations are too large to be remembered; within a chunk repeats run once."""
        return None

    def recall(self, path: Path, repeats: Repeats) -> None:
        """Nothing is remembered."""

    def compute(
        self,
        model: HookedModel,
        chunk: Chunk,
        rendered: list[Rendered],
        budget: BatchBudget,
        repeats: Repeats | None = None,
        total: int | None = None,
    ) -> Finished:
        """Read the chunk."""
        (rows,) = read_rules(
            model,
            rendered,
            dict.fromkeys(self.sites, raw),
            positions=self.positions,
            pooling=self.pooling,
            batch_tokens=budget,
            part=part_of(chunk, total),
            label=None,
        )
        about = {"schema": ACTIVATIONS_SCHEMA, "first": str(chunk.first), "sha256": chunk.sha256}
        about["prompt_ids"] = json.dumps([item.prompt_id for item in rendered])
        tensors = self._tensors(rows, identify(model).dtype)
        if isinstance(rows, Reading):
            names = token_names(model, rendered, select(rendered, self.positions)[0])
            known = sorted(set(names))
            code = {name: number for number, name in enumerate(known)}
            tensors["token"] = torch.tensor([code[name] for name in names], dtype=torch.int64)
            about["tokens"] = json.dumps(known)
        data = save(tensors, about)
        return Finished(data, len(rows.prompt), n_tokens(rendered))

    def _tensors(self, rows: Rows, dtype: str) -> dict[str, Tensor]:
        stored = getattr(torch, dtype) if self.pooling == "none" else torch.float32
        nothing = np.zeros((0, self.d_model), dtype=np.float32)
        tensors = {
            str(site): torch.from_numpy(rows.values.get(site, nothing)).to(stored)
            for site in self.sites
        }
        tensors["prompt"] = torch.from_numpy(rows.prompt)
        if isinstance(rows, Reading):
            tensors["position"] = torch.from_numpy(rows.position)
            tensors["offset"] = torch.from_numpy(rows.offset)
        return tensors
