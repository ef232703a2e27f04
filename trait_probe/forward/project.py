"""Project prompts onto trait vectors, inside the hook: no activation is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, overload

import numpy as np
from jaxtyping import Float

from trait_probe.basis import Site
from trait_probe.errors import RunError
from trait_probe.forward.budget import BatchBudget, as_budget
from trait_probe.forward.engine import (
    Rows,
    nothing_selected,
    read_rules,
    select,
)
from trait_probe.forward.pipeline import in_parts
from trait_probe.forward.projections import Projections, require_unique
from trait_probe.forward.reader import Part, Readout
from trait_probe.forward.selection import Selection
from trait_probe.hooks.projection import Projection
from trait_probe.identity import HookedModel, identify, tokenizer_of
from trait_probe.prompts.positions import Pooling, PositionRule, check_pooling, parse_rules
from trait_probe.prompts.prompt import Prompt
from trait_probe.prompts.render import Rendered, Truncate
from trait_probe.vectors.vector import TraitVector, VectorSet


@overload
def project(
    model: HookedModel,
    prompts: Iterable[Prompt] | Iterable[Rendered],
    vectors: VectorSet,
    *,
    position: str,
    pooling: Pooling = "none",
    lineage_ok: bool = False,
    truncate: Truncate | None = None,
    batch_tokens: int | None = None,
    label: str = "projecting",
) -> Projections: ...
@overload
def project(
    model: HookedModel,
    prompts: Iterable[Prompt] | Iterable[Rendered],
    vectors: VectorSet,
    *,
    position: list[str] | tuple[str, ...],
    pooling: Pooling = "none",
    lineage_ok: bool = False,
    truncate: Truncate | None = None,
    batch_tokens: int | None = None,
    label: str = "projecting",
) -> dict[str, Projections]: ...
def project(
    model: HookedModel,
    prompts: Iterable[Prompt] | Iterable[Rendered],
    vectors: VectorSet,
    *,
    position: str | list[str] | tuple[str, ...],
    pooling: Pooling = "none",
    lineage_ok: bool = False,
    truncate: Truncate | None = None,
    batch_tokens: int | None = None,
    label: str = "projecting",
) -> Projections | dict[str, Projections]:
    """Projections of `prompts` onto `vectors` at the tokens that the position rule selects.

    All vectors, of however many sites, are read in one forward pass per prompt, which stops after
    the deepest of them. Everything is kept in memory; `project_to` writes to a folder instead.

    Args:
        position: a rule, or several, which are read in the same pass.
        pooling: how a prompt's tokens become one row; `none` keeps one per token.
        batch_tokens: most tokens of a batch, padding included; None chooses for the device.

    Returns:
        One `Projections`, or for several rules one by each rule's name.

    Raises:
        MismatchError: the vectors were not made in this model's basis; `lineage_ok=True` states
            that the model is a fine-tune of theirs.
        BadInputError: no vectors, two prompts with one id, and as for `read`.
    """
    vectors.check(identify(model), lineage_ok=lineage_ok)
    rules = [position] if isinstance(position, str) else list(position)
    parse_rules(rules)
    check_pooling(pooling)
    budget = as_budget(model, batch_tokens)
    found: list[list[Projections]] = []
    for part, rendered in in_parts(model, prompts, rules, truncate):
        found.append(
            project_rendered(
                model,
                rendered,
                vectors,
                rules,
                pooling,
                budget=budget,
                part=part,
                label=label + part.name,
            )
        )
    whole = {
        rule: Projections.concatenate(parts)
        for rule, parts in zip(rules, zip(*found, strict=True), strict=True)
    }
    for rule, projections in whole.items():
        require_unique(projections.prompt_ids)
        if not len(projections.prompt):
            raise nothing_selected(rule)
    return whole[rules[0]] if isinstance(position, str) else whole


def project_rendered(
    model: HookedModel,
    rendered: Sequence[Rendered],
    vectors: VectorSet,
    positions: Sequence[str | PositionRule],
    pooling: Pooling,
    *,
    budget: BatchBudget,
    part: Part | None = None,
    label: str | None = None,
) -> list[Projections]:
    """One `Projections` for each rule, from one pass; the basis has been checked by the caller."""
    readouts: Mapping[Site, Readout] = {
        site: Projection(vectors.matrix(site)) for site in vectors.sites
    }
    found = read_rules(
        model,
        rendered,
        readouts,
        positions=positions,
        pooling=pooling,
        batch_tokens=budget,
        part=part,
        label=label,
    )
    return [
        assemble(model, rendered, vectors, selection, _dots(rows, vectors), str(position), pooling)
        for selection, rows, position in zip(
            select(rendered, positions), found, positions, strict=True
        )
    ]


def assemble(
    model: HookedModel,
    rendered: Sequence[Rendered],
    vectors: VectorSet,
    selection: Selection,
    dot: Float[np.ndarray, "row _column"],
    position: str,
    pooling: Pooling,
) -> Projections:
    """`Projections` of one rule from its dots, rows in the order of prompts and positions."""
    per_token = pooling == "none"
    return projections_of(
        vectors,
        dot,
        prompt_ids=tuple(item.prompt_id for item in rendered),
        span=position,
        pooling=pooling,
        prompt=selection.prompts(pooling),
        position=selection.positions if per_token else None,
        offset=selection.offsets() if per_token else None,
        token=token_names(model, rendered, selection) if per_token else None,
    )


def _dots(rows: Rows, vectors: VectorSet) -> Float[np.ndarray, "row _column"]:
    """Sites side by side; where a rule selects nothing anywhere, nothing was read: no rows."""
    if not len(rows.prompt):
        return np.zeros((0, len(vectors)), dtype=np.float32)
    return np.concatenate([rows.values[site] for site in vectors.sites], axis=1)


def projections_of(
    vectors: VectorSet, dot: Float[np.ndarray, "row _column"], **rows: Any
) -> Projections:
    """`Projections` from dots whose columns are the vectors, site after site; `z` is added.

    Args:
        rows: the other fields of `Projections`.
    """
    ordered = in_columns(vectors)
    mean = np.array([vector.reference.mean for vector in ordered])
    std = np.array([vector.reference.std for vector in ordered])
    z = (dot - mean) / std
    if not bool((np.abs(z) < np.finfo(np.float32).max).all()):
        raise RunError(
            "A projection in SD of its vector's reference is beyond all numbers.",
            got=f"smallest reference SD {std.min():.3g}",
            fix="The reference has next to no spread: extract the vector on more varied prompts.",
        )
    return Projections(
        columns=tuple((vector.trait, vector.site) for vector in ordered),
        dot=dot,
        z=z.astype(np.float32),
        **rows,
    )


def in_columns(vectors: VectorSet) -> list[TraitVector]:
    """The vectors in the order of the columns: by site, then as in the set."""
    return [vector for site in vectors.sites for vector in vectors.at(site)]


def token_names(
    model: HookedModel, rendered: Sequence[Rendered], selection: Selection
) -> tuple[str, ...]:
    """Each selected token as the vocabulary writes it."""
    prompts = selection.prompts("none").tolist()
    places = zip(prompts, selection.positions.tolist(), strict=True)
    ids = [rendered[prompt].token_ids[place] for prompt, place in places]
    known = list(set(ids))
    names = dict(zip(known, tokenizer_of(model).convert_ids_to_tokens(known), strict=True))
    return tuple(names[token] for token in ids)
