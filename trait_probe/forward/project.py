"""Project prompts onto trait vectors, inside the hook: no activation is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int
from torch import Tensor

from trait_probe.basis import Site
from trait_probe.errors import BadInputError, nearest
from trait_probe.forward.batching import DEFAULT_BATCH_TOKENS
from trait_probe.forward.engine import Readout, Reading, read
from trait_probe.forward.rendering import render_for
from trait_probe.hooks.projection import Projection
from trait_probe.identity import HookedModel, identify, tokenizer_of
from trait_probe.prompts.positions import Pooling, pool
from trait_probe.prompts.prompt import Prompt
from trait_probe.prompts.render import Rendered, Truncate
from trait_probe.runs.tables import make_table
from trait_probe.vectors.vector import VectorSet

SCHEMA = pa.schema(
    [
        pa.field("prompt_id", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("trait", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("site", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("span", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("position", pa.int32()),
        pa.field("offset", pa.int32()),
        pa.field("token", pa.dictionary(pa.int32(), pa.string())),
        pa.field("dot", pa.float32(), nullable=False),
        pa.field("z", pa.float32(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Projections:
    """Projections of many tokens (or pooled prompts) onto many vectors.

    Attributes:
        prompt_ids: the prompts, in the order they were given.
        columns: (trait, site) of each vector.
        span: the position rule that selected the tokens.
        pooling: how tokens became rows; `none` keeps one row per token.
        prompt: `[row]` index into `prompt_ids`.
        position: `[row]` absolute token position; None when pooled.
        offset: `[row]` place of the token within the rule's selection; None when pooled.
        token: the token of each row as the vocabulary writes it; None when pooled.
        dot: `[row column]` activation units, float32.
        z: `[row column]` `dot` standardized by each vector's reference, in SD.
    """

    prompt_ids: tuple[str, ...]
    columns: tuple[tuple[str, Site], ...]
    span: str
    pooling: Pooling
    prompt: Int[np.ndarray, " row"]
    position: Int[np.ndarray, " row"] | None
    offset: Int[np.ndarray, " row"] | None
    token: tuple[str, ...] | None
    dot: Float[np.ndarray, "row _column"]
    z: Float[np.ndarray, "row _column"]

    def column(self, trait: str, site: Site) -> int:
        """Index of a vector's column; BadInputError with the nearest names if there is none."""
        if (trait, site) not in self.columns:
            names = [f"{name}@{place}" for name, place in self.columns]
            raise BadInputError(
                "There is no such projection.",
                got=f"{trait}@{site}",
                valid=nearest(f"{trait}@{site}", names),
            )
        return self.columns.index((trait, site))

    def pooled(self, pooling: Pooling) -> Projections:
        """One row per prompt; prompts in which the rule selected nothing are left out."""
        present = sorted(set(self.prompt.tolist()))
        groups = [np.flatnonzero(self.prompt == index) for index in present]
        pool_all = [np.concatenate([pool(x[rows], pooling) for rows in groups]) for x in self._both]
        return replace(
            self,
            pooling=pooling,
            prompt=np.array(present, dtype=np.int64),
            position=None,
            offset=None,
            token=None,
            dot=pool_all[0],
            z=pool_all[1],
        )

    @property
    def _both(self) -> tuple[Float[np.ndarray, "row _column"], Float[np.ndarray, "row _column"]]:
        return self.dot, self.z

    def to_table(self) -> pa.Table:
        """One line per row and vector (see `SCHEMA`), vectors one after the other."""
        n = len(self.columns)

        def repeat(values: Any) -> Any:
            return None if values is None else np.tile(values, n)

        rows = len(self.prompt)
        ids = np.array(self.prompt_ids, dtype=object)[self.prompt]
        empty = [None] * (rows * n)
        columns = {
            "prompt_id": repeat(ids),
            "trait": np.repeat(np.array([c[0] for c in self.columns], dtype=object), rows),
            "site": np.repeat(np.array([str(c[1]) for c in self.columns], dtype=object), rows),
            "span": np.full(rows * n, f"{self.span}|{self.pooling}", dtype=object),
            "position": repeat(self.position) if self.position is not None else empty,
            "offset": repeat(self.offset) if self.offset is not None else empty,
            "token": repeat(np.array(self.token, dtype=object)) if self.token else empty,
            "dot": self.dot.T.reshape(-1),
            "z": self.z.T.reshape(-1),
        }
        return make_table(SCHEMA, columns)

    @classmethod
    def from_table(cls, table: pa.Table) -> Projections:
        """The inverse of `to_table` (prompts without any row are gone)."""
        keys = list(zip(table["trait"].to_pylist(), table["site"].to_pylist(), strict=True))
        columns = list(dict.fromkeys(keys))
        rows = len(keys) // len(columns)
        first = table.slice(0, rows)
        names = first["prompt_id"].to_pylist()
        index = {name: place for place, name in enumerate(dict.fromkeys(names))}
        span, pooling = first["span"][0].as_py().rsplit("|", 1)

        def whole(name: str) -> Int[np.ndarray, " row"] | None:
            values = first[name].combine_chunks()
            return None if values.null_count else values.to_numpy().astype(np.int64)

        def grid(name: str) -> Float[np.ndarray, "row _column"]:
            return table[name].to_numpy().reshape(len(columns), rows).T.copy()

        tokens = first["token"].to_pylist()
        return cls(
            prompt_ids=tuple(index),
            columns=tuple((trait, Site.parse(site)) for trait, site in columns),
            span=span,
            pooling=pooling,
            prompt=np.array([index[name] for name in names], dtype=np.int64),
            position=whole("position"),
            offset=whole("offset"),
            token=None if tokens[0] is None else tuple(tokens),
            dot=grid("dot"),
            z=grid("z"),
        )


def project(
    model: HookedModel,
    prompts: Iterable[Prompt] | Iterable[Rendered],
    vectors: VectorSet,
    *,
    position: str,
    pooling: Pooling = "none",
    lineage_ok: bool = False,
    truncate: Truncate | None = None,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    label: str = "projecting",
) -> Projections:
    """Projections of `prompts` onto `vectors` at the tokens that the position rule selects.

    All vectors, of however many sites, are read in one forward pass per prompt, which stops after
    the deepest of them.

    Raises:
        MismatchError: the vectors were not made in this model's basis; `lineage_ok=True` states
            that the model is a fine-tune of theirs.
        BadInputError: unknown span, a rule that selects nothing, prompts longer than the context.
    """
    vectors.check(identify(model), lineage_ok=lineage_ok)
    rendered = render_for(model, list(prompts), truncate=truncate)
    readouts: Mapping[Site, Readout] = {
        site: Projection(vectors.matrix(site)) for site in vectors.sites
    }
    reading = read(
        model, rendered, readouts, position=position, batch_tokens=batch_tokens, label=label
    )
    projections = _assemble(model, rendered, vectors, reading, position)
    return projections if pooling == "none" else projections.pooled(pooling)


def _assemble(
    model: HookedModel,
    rendered: list[Rendered],
    vectors: VectorSet,
    reading: Reading,
    position: str,
) -> Projections:
    ordered = [vector for site in vectors.sites for vector in vectors.at(site)]
    dot = np.concatenate([reading.values[site] for site in vectors.sites], axis=1)
    mean = np.array([vector.reference.mean for vector in ordered])
    std = np.array([vector.reference.std for vector in ordered])
    ids = [
        rendered[prompt].token_ids[place]
        for prompt, place in zip(reading.prompt, reading.position, strict=True)
    ]
    return Projections(
        prompt_ids=tuple(item.prompt_id for item in rendered),
        columns=tuple((vector.trait, vector.site) for vector in ordered),
        span=position,
        pooling="none",
        prompt=reading.prompt,
        position=reading.position,
        offset=reading.offset,
        token=tuple(tokenizer_of(model).convert_ids_to_tokens(ids)),
        dot=dot,
        z=((dot - mean) / std).astype(np.float32),
    )


def project_directions(
    model: HookedModel,
    prompts: list[Rendered],
    directions: Float[Tensor, "component d_model"],
    site: Site,
    *,
    position: str,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    label: str = "null directions",
) -> Reading:
    """`dot` onto plain directions without a basis contract: random nulls, made in this model."""
    return read(
        model,
        prompts,
        {site: Projection(directions)},
        position=position,
        batch_tokens=batch_tokens,
        label=label,
    )
