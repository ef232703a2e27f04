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
from trait_probe.forward import tables
from trait_probe.prompts.positions import Pooling, pool


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
        """One line per row and vector (`trait_probe.forward.tables.SCHEMA`), vector after vector.

        Raises:
            BadInputError: two prompts share an id, by which lines are told apart.
        """
        require_unique(self.prompt_ids)
        return tables.to_table(self)

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
        return cls(**tables.from_table(table, prompt_ids))

    @classmethod
    def concatenate(cls, parts: Sequence[Projections]) -> Projections:
        """Projections of neighbouring prompts onto the same vectors, as one.

        Raises:
            BadInputError: none, or of different vectors, position rules or poolings.
        """
        _require_alike(parts)
        first = parts[0]
        if len(parts) == 1:
            return first
        before = np.cumsum([0, *(len(part.prompt_ids) for part in parts)])
        shifted = [part.prompt + shift for part, shift in zip(parts, before, strict=False)]
        return replace(
            first,
            prompt_ids=tuple(name for part in parts for name in part.prompt_ids),
            prompt=np.concatenate(shifted),
            position=_joined([part.position for part in parts]),
            offset=_joined([part.offset for part in parts]),
            token=None
            if first.token is None
            else tuple(token for part in parts for token in part.token or ()),
            dot=np.concatenate([part.dot for part in parts]),
            z=np.concatenate([part.z for part in parts]),
        )


def _joined(parts: Sequence[Int[np.ndarray, " _row"] | None]) -> Int[np.ndarray, " _row"] | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def _require_alike(parts: Sequence[Projections]) -> None:
    kinds = {(part.columns, part.span, part.pooling) for part in parts}
    if len(kinds) != 1:
        raise BadInputError(
            "Only projections onto the same vectors, at the same positions, can be joined.",
            got=[(len(columns), span, pooling) for columns, span, pooling in sorted(kinds)],
            fix="Join those of one run, and give at least one.",
        )


def require_unique(prompt_ids: Sequence[str]) -> None:
    if len(set(prompt_ids)) < len(prompt_ids):
        repeated = [name for name, count in Counter(prompt_ids).items() if count > 1]
        raise BadInputError(
            "Projections are told apart by their prompts' ids, and some are used twice.",
            got=repeated[:5],
            fix="Give each prompt an id of its own.",
        )
