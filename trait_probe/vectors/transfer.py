"""Use trait vectors of one model in another: a linear map fitted on texts that both read.

The models may differ in width, depth and tokenizer: each renders the same texts by its own
template, and one pooled row per text pairs them. A mean difference of source activations is a
displacement, so it goes through the map without intercept. What comes out is used only where it
can be shown to mean its trait in the target (`vectors.transfer_check`); the others are refused,
with their reasons.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float64

from trait_probe.basis import Site
from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.estimate import Estimate
from trait_probe.evidence.splits import text_id
from trait_probe.forward.answering import answer_pairs, reads_answers
from trait_probe.forward.capture import capture
from trait_probe.forward.threads import threads_for
from trait_probe.identity import HookedModel, identify
from trait_probe.prompts.contrast import ContrastSet
from trait_probe.prompts.positions import Pooling
from trait_probe.prompts.prompt import Prompt, PromptSet
from trait_probe.prompts.render import Rendered, Truncate
from trait_probe.vectors import geometry
from trait_probe.vectors.contrast_sets import contrast_set
from trait_probe.vectors.linear_map import LinearMap, fit_map
from trait_probe.vectors.moments import Moments
from trait_probe.vectors.trait_vector import Basis, Origin, Reference, Reliability, TraitVector
from trait_probe.vectors.transfer_check import (
    Candidate,
    FittedMap,
    TargetPairs,
    TransferCheck,
    check_direction,
)
from trait_probe.vectors.vector import VectorSet

__all__ = [
    "LinearMap",
    "Route",
    "TransferCheck",
    "TransferRefusedError",
    "Transferred",
    "fit_map",
    "pair_layers",
    "transfer",
]

DISPLACEMENTS = ("mean_difference", "pca")
"""Methods whose directions are differences of activations. A probe's coefficients are not: they
weigh activations, and would have to be pulled back through a map in the other direction."""
MIN_RANDOM = 19
"""Fewer random directions cannot be beaten at 5 %."""


class Route(NamedTuple):
    """From where to where a map goes, and what it was fitted on."""

    source: Site
    target: Site
    position: str
    pooling: str


@dataclass(frozen=True, eq=False)
class Transferred:
    """The vectors that may be used in the target, and the evidence on all that were tried.

    Attributes:
        vectors: those that passed, in the target's basis; `basis.origin` says where they are from.
        checks: one for each vector that was tried, in order.
        maps: by route.
        texts_hash: of the shared texts (all of them; each map says which it held out).
        n_texts: shared texts, none of them in a contrast set that a check read.
        left_out: keys of source vectors that were not tried: their layer has no partner.
    """

    vectors: VectorSet
    checks: tuple[TransferCheck, ...]
    maps: Mapping[Route, LinearMap]
    texts_hash: str
    n_texts: int
    left_out: tuple[str, ...]

    def require(self, *traits: str) -> VectorSet:
        """The usable vectors of these traits; of all, where none is named.

        Raises:
            TransferRefusedError: a named trait was refused, or without names every one; with the
            reasons.
            BadInputError: a trait that was not tried.
        """
        tried = tuple(dict.fromkeys(check.trait for check in self.checks))
        wanted = [_full_name(trait, tried) for trait in traits]
        missing = [trait for trait in wanted or tried if trait not in self.vectors.traits]
        if missing and (wanted or not len(self.vectors)):
            raise _refusal(self, missing)
        return self.vectors.select(wanted) if wanted else self.vectors


class TransferRefusedError(MismatchError):
    """No vector means its trait in the target; `transferred` holds what was measured."""

    def __init__(self, transferred: Transferred, problem: str, **parts: Any) -> None:
        super().__init__(problem, **parts)
        self.transferred = transferred


def transfer(
    vectors: VectorSet,
    source: HookedModel,
    target: HookedModel,
    prompts: Iterable[Prompt],
    *,
    layers: Mapping[int, int] | None = None,
    contrasts: Mapping[str, ContrastSet] | None = None,
    held_out: float = 0.25,
    n_random: int = 200,
    min_r2: float = 0.0,
    max_new_tokens: int = 32,
    truncate: Truncate | None = None,
    batch_tokens: int | None = None,
    seed: int = 0,
) -> Transferred:
    """Map the vectors of one model into another, check each one there, keep those that pass.

    Each vector is checked for itself, at the 5 % level: among many that mean nothing some pass.

    Args:
        vectors: of the source model, by `mean_difference` or `pca`.
        prompts: the shared texts, several hundred; with responses where the vectors read answers.
            Texts of one group are fitted on or held out together. None may occur in a contrast
            set: the vectors would be tested on what the map was fitted on.
        layers: source to target; default `pair_layers`, the same relative depth.
        contrasts: by trait, what to check on; default `contrast_set(trait, target)`. The pairs
            that a vector was fitted on favour it: hand in pairs of their own where it matters.
        held_out: share of text groups that measure the map.
        n_random: transferred random directions of each map, at least 19.
        min_r2: what the interval of a map's R2 must lie above, besides its null.
        max_new_tokens: of the answers that the target writes to a contrast set of instructions.

    Raises:
        TransferRefusedError: every vector was refused; with the reasons and what was measured.
        MismatchError: the vectors are not the source model's.
        BadInputError: no vectors, methods that give no displacement, layers that do not exist,
            shared texts that are too few, occur in a contrast set, repeat in several groups, or
            in which a position rule selects nothing.
    """
    _check_vectors(vectors, source, n_random)
    texts = PromptSet(prompts)
    groups = _groups(texts)
    routed = _routed(vectors, layers, source, target)
    sets = _contrasts([vector.trait for vector, _ in routed], contrasts, target)
    for contrast in sets.values():
        _require_unseen(texts, contrast)
    limits = _Limits(truncate, batch_tokens, max_new_tokens)
    fitted = {}
    for route, rows in _shared_rows(texts, routed, source, target, limits).items():
        with threads_for(max(side.size for side in rows)):
            fitted[route] = FittedMap.of(
                *rows, groups, held_out=held_out, n_random=n_random, seed=seed
            )
    pairs = _target_pairs(routed, sets, target, limits)
    checks, passed = [], []
    for vector, route in routed:
        candidate, own = _candidate(vector, route, fitted[route].found), pairs[vector.trait, route]
        with threads_for(fitted[route].random.size):
            check = check_direction(candidate, fitted[route], own, min_r2=min_r2, seed=seed)
        checks.append(check)
        if check.refused is None:
            passed.append(_in_target(vector, candidate, check, own, target, texts))
    tried = {vector.key for vector, _ in routed}
    transferred = Transferred(
        vectors=VectorSet(passed),
        checks=tuple(checks),
        maps={route: item.found for route, item in fitted.items()},
        texts_hash=texts.hash,
        n_texts=len(texts),
        left_out=tuple(vector.key for vector in vectors if vector.key not in tried),
    )
    transferred.require()
    return transferred


def pair_layers(layers: Iterable[int], n_source: int, n_target: int) -> dict[int, int]:
    """Source to target layers of the same relative depth: first to first, last to last.

    Where several source layers would meet in one of a shallower target, the nearest is kept (of
    equals, the lower).
    """
    nearest: dict[int, tuple[float, int]] = {}
    for layer in sorted(set(layers)):
        depth = layer * (n_target - 1) / (n_source - 1) if n_source > 1 else n_target - 1.0
        place = int(depth + 0.5)
        if place not in nearest or abs(depth - place) < nearest[place][0]:
            nearest[place] = (abs(depth - place), layer)
    return {layer: place for place, (_, layer) in nearest.items()}


@dataclass(frozen=True)
class _Limits:
    truncate: Truncate | None
    batch_tokens: int | None
    max_new_tokens: int


def _check_vectors(vectors: VectorSet, source: HookedModel, n_random: int) -> None:
    if not len(vectors):
        raise BadInputError("There are no vectors to transfer.", fix="Extract some first.")
    if n_random < MIN_RANDOM:
        raise BadInputError(
            "Too few random directions to compare with: none could be told from chance at 5 %.",
            got=n_random,
            valid=[f"{MIN_RANDOM} or more"],
        )
    vectors.check(source)
    for vector in vectors:
        if vector.basis.method not in DISPLACEMENTS:
            raise BadInputError(
                "Only directions that are differences of activations go through a linear map.",
                got=f"{vector.trait!r}: {vector.basis.method}",
                valid=DISPLACEMENTS,
                fix="Extract them in the source model with method='mean_difference'.",
            )
        if vector.basis.pooling == "none":
            raise BadInputError(
                "Texts are paired by one row each, so the vectors' tokens must be pooled.",
                got=f"{vector.trait!r}: pooling {vector.basis.pooling!r}",
                valid=("mean", "last", "max"),
            )


def _groups(texts: PromptSet) -> list[str]:
    """The group of each text; the same words in two groups would be fitted on and held out."""
    group_of: dict[str, Prompt] = {}
    for prompt in texts:
        words = text_id("\n".join(_turns(prompt, with_system=True)))
        first = group_of.setdefault(words, prompt)
        if first.cluster != prompt.cluster:
            raise BadInputError(
                "Shared texts with the same words must be of one group: else the map is tested on "
                "words that it was fitted on.",
                got=[first.id, prompt.id],
                fix="Leave repeats out, or give them the same 'group'.",
            )
    return [prompt.cluster for prompt in texts]


def _turns(prompt: Prompt, *, with_system: bool = False) -> list[str]:
    spoken = [turn.content for turn in prompt.messages if with_system or turn.role != "system"]
    said = [*spoken, prompt.text, prompt.response]
    return [text for text in said if text and text.strip()]


def _require_unseen(texts: PromptSet, contrast: ContrastSet) -> None:
    """No request, text or answer of the contrast set among the shared texts, system turns aside."""
    tested = {
        text_id(turn)
        for prompt in (*contrast.positive, *contrast.negative)
        for turn in _turns(prompt)
    }
    shared = [prompt.id for prompt in texts if tested & {text_id(turn) for turn in _turns(prompt)}]
    if shared:
        raise BadInputError(
            f"{len(shared)} of {len(texts)} shared texts occur in the contrast set "
            f"{contrast.trait!r}: the map would be fitted on what its vectors are tested on.",
            got=shared[:5],
            fix="Leave them out of the shared texts.",
        )


def _routed(
    vectors: VectorSet,
    layers: Mapping[int, int] | None,
    source: HookedModel,
    target: HookedModel,
) -> list[tuple[TraitVector, Route]]:
    """Each vector that has a partner layer, with its way."""
    depths = int(source.cfg.n_layers), int(target.cfg.n_layers)
    if layers is not None:
        _check_layers(layers, vectors, depths[1])
    routed = []
    for vector in vectors:
        # Of its own trait and point: another trait's layer takes no vector's place.
        own = [
            other.layer
            for other in vectors
            if other.trait == vector.trait and other.site.point == vector.site.point
        ]
        partner = (pair_layers(own, *depths) if layers is None else layers).get(vector.layer)
        if partner is not None:
            site = Site(partner, vector.site.point)
            basis = vector.basis
            routed.append((vector, Route(vector.site, site, basis.position, basis.pooling)))
    return routed


def _check_layers(layers: Mapping[int, int], vectors: VectorSet, n_target: int) -> None:
    unknown = [layer for layer in layers if layer not in vectors.layers]
    if unknown or not layers:
        raise BadInputError(
            "The pairing of layers names source layers that have vectors.",
            got=unknown or dict(layers),
            valid=vectors.layers,
        )
    outside = [layer for layer in layers.values() if not 0 <= layer < n_target]
    if outside:
        raise BadInputError(
            f"The target model has {n_target} layers.",
            got=outside,
            valid=[f"0 to {n_target - 1}"],
        )
    if len(set(layers.values())) < len(layers):
        raise BadInputError(
            "Each source layer goes to a target layer of its own.",
            got=dict(layers),
            fix="Keep one of those that meet: a set holds one vector for each trait and site.",
        )


def _contrasts(
    traits: Iterable[str], given: Mapping[str, ContrastSet] | None, target: HookedModel
) -> dict[str, ContrastSet]:
    """What each trait is checked on, by its full name."""
    names = tuple(dict.fromkeys(traits))
    found = {_full_name(name, names): contrast for name, contrast in (given or {}).items()}
    return {name: found.get(name) or contrast_set(name, target) for name in names}


def _full_name(trait: str, names: Sequence[str]) -> str:
    matches = [name for name in names if trait in (name, name.rpartition("/")[2])]
    if trait in names:
        return trait
    if len(matches) != 1:
        raise BadInputError(
            "There is no such trait among the transferred vectors."
            if not matches
            else "Several traits have that bare name.",
            got=trait,
            valid=matches or names,
        )
    return matches[0]


Pair = tuple[Float64[np.ndarray, "text source"], Float64[np.ndarray, "text target"]]


def _shared_rows(
    texts: PromptSet,
    routed: Sequence[tuple[TraitVector, Route]],
    source: HookedModel,
    target: HookedModel,
    limits: _Limits,
) -> dict[Route, Pair]:
    """Both models' rows of every text, each model run once for each position rule."""
    found: dict[Route, Pair] = {}
    routes = list(dict.fromkeys(route for _, route in routed))
    for reading in dict.fromkeys((route.position, route.pooling) for route in routes):
        own = [route for route in routes if (route.position, route.pooling) == reading]
        sides = [
            _rows(model, list(texts), sites, *reading, limits, "shared texts")
            for model, sites in (
                (source, sorted({route.source for route in own})),
                (target, sorted({route.target for route in own})),
            )
        ]
        found |= {route: (sides[0][route.source], sides[1][route.target]) for route in own}
    return found


def _rows(
    model: HookedModel,
    prompts: list[Prompt] | list[Rendered],
    sites: Sequence[Site],
    position: str,
    pooling: str,
    limits: _Limits,
    what: str,
) -> dict[Site, Float64[np.ndarray, "text _d_model"]]:
    rows = capture(
        model,
        prompts,
        sites,
        position=position,
        pooling=cast(Pooling, pooling),  # checked with the vectors
        truncate=limits.truncate,
        batch_tokens=limits.batch_tokens,
    )
    empty = sorted(set(range(len(prompts))) - set(rows.prompt.tolist()))
    if empty:
        names = [item.id if isinstance(item, Prompt) else item.prompt_id for item in prompts]
        raise BadInputError(
            f"The vectors' position rule {position} selects no token in {len(empty)} of "
            f"{len(prompts)} {what}.",
            got=[names[index] for index in empty[:5]],
            fix="Give every text a response if the vectors read answers, or leave it out.",
        )
    return {site: values.astype(np.float64) for site, values in rows.values.items()}


def _target_pairs(
    routed: Sequence[tuple[TraitVector, Route]],
    sets: Mapping[str, ContrastSet],
    target: HookedModel,
    limits: _Limits,
) -> dict[tuple[str, Route], TargetPairs]:
    """Each trait's contrast set as the target reads it, answered once for each position rule."""
    found = {}
    wanted = dict.fromkeys(
        (vector.trait, route.position, route.pooling) for vector, route in routed
    )
    for trait, position, pooling in wanted:
        contrast = sets[trait]
        answered = answer_pairs(
            target,
            contrast,
            reads_answers(position),
            limits.max_new_tokens,
            limits.truncate,
            limits.batch_tokens,
        )
        own = [
            route
            for vector, route in routed
            if (vector.trait, route.position, route.pooling) == (trait, position, pooling)
        ]
        if not answered.positive:
            raise BadInputError(
                f"The target model left no pair of the contrast set {trait!r} to check on.",
                got=f"{len(contrast.positive)} pairs",
                fix="Its answers are empty: read some, or hand in another set ('contrasts').",
            )
        sites = sorted({route.target for route in own})
        sides = [
            _rows(target, side, sites, position, pooling, limits, f"prompts of {trait!r}")
            for side in (answered.positive, answered.negative)
        ]
        groups = tuple(item.cluster for item in answered.positive)
        for route in own:
            positive, negative = (side[route.target] for side in sides)
            found[trait, route] = TargetPairs(positive, negative, groups, contrast.hash)
    return found


def _candidate(vector: TraitVector, route: Route, found: LinearMap) -> Candidate:
    displacement = vector.norm * vector.direction.detach().cpu().double().numpy()
    return Candidate(
        trait=vector.trait,
        source_site=route.source,
        target_site=route.target,
        direction=found.displaced(displacement[None])[0],
        method=vector.basis.method,
        contrast_hash=vector.basis.contrast_hash,
    )


def _in_target(
    vector: TraitVector,
    candidate: Candidate,
    check: TransferCheck,
    pairs: TargetPairs,
    target: HookedModel,
    texts: PromptSet,
) -> TraitVector:
    """The vector in the target's basis.

    Its stability (split halves, bootstrap angle, pairs) is that of the source direction; its AUC
    and reference are measured in the target.
    """
    assert isinstance(check.auroc, Estimate)  # it passed
    direction = torch.from_numpy(candidate.direction)
    both = torch.from_numpy(np.concatenate([pairs.positive, pairs.negative]))
    along = Moments.of(geometry.dot(both, geometry.unit(direction)[None]))
    source = vector.basis
    return TraitVector.normalized(
        trait=vector.trait,
        direction=direction,
        basis=Basis(
            model=identify(target),
            site=check.target_site,
            position=source.position,
            pooling=source.pooling,
            method=f"{source.method}, transferred from {source.model.id}",
            contrast_hash=source.contrast_hash,
            split=f"in the source: {source.split}; AUC on contrast set {pairs.contrast_hash[:12]} "
            "in this model",
            origin=Origin(
                model=source.model,
                site=vector.site,
                method=source.method,
                texts_hash=texts.hash,
                r2=check.r2.value,
            ),
        ),
        reference=Reference(
            mean=float(along.mean[0]),
            std=float(along.std[0]),
            n=along.n,
            source="pairs of the contrast set in this model, both sides",
        ),
        reliability=_reliability(vector, check.auroc.value, direction),
    )


def _reliability(vector: TraitVector, auc: float, direction: torch.Tensor) -> Reliability:
    return replace(
        vector.reliability,
        held_out_auc=auc,
        energy_share_top1=geometry.energy_share(direction),
    )


def _refusal(transferred: Transferred, traits: Sequence[str]) -> TransferRefusedError:
    reasons = [
        f"  {check.trait} {check.source_site} -> {check.target_site}: {check.refused}"
        for check in transferred.checks
        if check.trait in traits
    ]
    means = "\n".join(["No vector of these traits means its trait in the target model:", *reasons])
    return TransferRefusedError(
        transferred,
        means,
        got=list(traits),
        fix="Extract the vectors in the target model, or give more shared texts of the kind that "
        "the traits show in.",
    )
