"""Projections of tokens or prompts onto vectors, and the table that keeps them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from trait_probe.basis import Site
from trait_probe.errors import BadInputError, nearest
from trait_probe.prompts.positions import Pooling, pool
from trait_probe.runs.tables import make_table

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
        """One row per prompt; prompts in which the rule selected nothing are left out.

        Raises:
            BadInputError: they are pooled already, in another way.
        """
        if pooling == self.pooling:
            return self
        if self.pooling != "none":
            raise BadInputError(
                f"The projections are pooled already, by {self.pooling}.",
                got=pooling,
                fix="Project with pooling='none', and pool that.",
            )
        starts = np.flatnonzero(np.diff(self.prompt, prepend=-1))
        dot, z = (
            np.concatenate([pool(rows, pooling) for rows in np.split(values, starts[1:])])
            for values in (self.dot, self.z)
        )
        return replace(
            self,
            pooling=pooling,
            prompt=self.prompt[starts],
            position=None,
            offset=None,
            token=None,
            dot=dot,
            z=z,
        )

    def to_table(self) -> pa.Table:
        """One line per row and vector (see `SCHEMA`), vectors one after the other.

        Raises:
            BadInputError: two prompts share an id, by which lines are told apart.
        """
        require_unique(self.prompt_ids)
        n, rows = len(self.columns), len(self.prompt)

        def repeat(values: object) -> object:
            return [None] * (rows * n) if values is None else np.tile(np.asarray(values), n)

        token = None if self.token is None else np.array(self.token, dtype=object)
        columns = {
            "prompt_id": repeat(np.array(self.prompt_ids, dtype=object)[self.prompt]),
            "trait": np.repeat(np.array([c[0] for c in self.columns], dtype=object), rows),
            "site": np.repeat(np.array([str(c[1]) for c in self.columns], dtype=object), rows),
            "span": np.full(rows * n, f"{self.span}|{self.pooling}", dtype=object),
            "position": repeat(self.position),
            "offset": repeat(self.offset),
            "token": repeat(token),
            "dot": self.dot.T.reshape(-1),
            "z": self.z.T.reshape(-1),
        }
        return make_table(SCHEMA, columns)

    @classmethod
    def from_table(cls, table: pa.Table, *, prompt_ids: Sequence[str] | None = None) -> Projections:
        """The inverse of `to_table`.

        Args:
            table: as `to_table` made it: whole, and in its order.
            prompt_ids: all prompts in their order; without it, prompts without any row are gone.

        Raises:
            BadInputError: an empty, cut, sorted or joined table, or a prompt that is not in
                `prompt_ids`.
        """
        keys = list(zip(table["trait"].to_pylist(), table["site"].to_pylist(), strict=True))
        columns = list(dict.fromkeys(keys))
        rows = len(keys) // max(len(columns), 1)
        _require_blocks(table, keys == [key for key in columns for _ in range(rows)], rows)
        first = table.slice(0, rows)
        names = first["prompt_id"].to_pylist()
        ids = tuple(dict.fromkeys(names)) if prompt_ids is None else tuple(prompt_ids)
        index = {name: place for place, name in enumerate(ids)}
        unknown = next((name for name in names if name not in index), None)
        if unknown is not None:
            raise BadInputError(
                "The table has a prompt that is not among the given ones.",
                got=unknown,
                valid=nearest(unknown, index),
            )
        span, pooling = first["span"][0].as_py().rsplit("|", 1)
        tokens = first["token"].to_pylist()
        return cls(
            prompt_ids=ids,
            columns=tuple((trait, Site.parse(site)) for trait, site in columns),
            span=span,
            pooling=pooling,
            prompt=np.array([index[name] for name in names], dtype=np.int64),
            position=_integers(first["position"]),
            offset=_integers(first["offset"]),
            token=None if tokens[0] is None else tuple(tokens),
            dot=_grid(table["dot"], len(columns)),
            z=_grid(table["z"], len(columns)),
        )


def require_unique(prompt_ids: Sequence[str]) -> None:
    if len(set(prompt_ids)) < len(prompt_ids):
        repeated = [name for name, count in Counter(prompt_ids).items() if count > 1]
        raise BadInputError(
            "Projections are told apart by their prompts' ids, and some are used twice.",
            got=repeated[:5],
            fix="Give each prompt an id of its own.",
        )


def _require_blocks(table: pa.Table, in_order: bool, rows: int) -> None:
    """One block of the same lines for each vector; anything else would be read wrongly."""
    if rows == 0 or not in_order or not _is_repeated(table, rows):
        raise BadInputError(
            "The table is not one that Projections.to_table made.",
            got=f"{len(table)} lines",
            fix="Give it whole and in its order; read tables of several runs one by one.",
        )


def _is_repeated(table: pa.Table, rows: int) -> bool:
    for name in ("prompt_id", "span", "position", "offset", "token"):
        column = table[name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(pa.string())
        first = column.slice(0, rows)
        if not all(first.equals(column.slice(at, rows)) for at in range(rows, len(table), rows)):
            return False
    return len(table["span"].slice(0, rows).combine_chunks().unique()) == 1


def _integers(column: pa.ChunkedArray) -> Int[np.ndarray, " row"] | None:
    return None if column.null_count else column.to_numpy().astype(np.int64)


def _grid(column: pa.ChunkedArray, n_columns: int) -> Float[np.ndarray, "row _column"]:
    grid: Float[np.ndarray, "row _column"] = column.to_numpy().reshape(n_columns, -1).T.copy()
    return grid
