"""Extract trait vectors from a model: the activations of a contrast set, and a fitting method.

Three ways, told by what the contrast set holds: answers that the model generates under contrast
instructions (read on their tokens), given completions (likewise), or the prompts alone (read on
their last token). Each vector carries its sign check, its reliability and its basis contract.
Source of the generated way: Chen et al. 2025, "Persona vectors".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trait_probe.basis import ModelIdentity, Site
from trait_probe.errors import BadInputError
from trait_probe.forward.answering import answer_pairs, judged, reads_answers
from trait_probe.forward.capture import capture
from trait_probe.forward.threads import threads_for
from trait_probe.hooks.sites import parse_layers, sites_at
from trait_probe.identity import HookedModel, identify
from trait_probe.judges.judge import Judge
from trait_probe.prompts.contrast import ContrastSet
from trait_probe.prompts.positions import Pooling
from trait_probe.prompts.render import Rendered, Truncate
from trait_probe.vectors import fit, geometry
from trait_probe.vectors.reliability import assess
from trait_probe.vectors.trait_vector import Basis, Reference, TraitVector
from trait_probe.vectors.vector import VectorSet

POSITION_OF_ANSWERS = "response[:]"
POSITION_OF_PROMPTS = "prompt[-1]"
Pairs = tuple[Float[Tensor, "pair d_model"], Float[Tensor, "pair d_model"]]


def extract(
    model: HookedModel,
    contrast: ContrastSet,
    *,
    layers: str | int | Iterable[int] = "all",
    method: str = "mean_difference",
    position: str | None = None,
    pooling: Pooling = "mean",
    judge: Judge | None = None,
    max_new_tokens: int = 32,
    held_out: float = 0.25,
    seed: int = 0,
    truncate: Truncate | None = None,
    batch_tokens: int | None = None,
) -> VectorSet:
    """One vector per layer, at `resid_post`.

    Args:
        contrast: paired positive and negative prompts; prompts without a response are answered
            by the model (greedy) when the set is made of instructions.
        layers: `all`, `0,4,8`, `4:12`, an integer or several.
        method: a name of `trait_probe.vectors.fit.METHODS`.
        position: a position rule; default `response[:]` where there are answers, else
            `prompt[-1]`. It is part of the vector: read with the same rule. A rule that does not
            look at answers (`prompt[-1]`) has none generated.
        pooling: how a prompt's selected tokens become one row; not `none`.
        judge: keeps only pairs whose positive answer scores at least 50 and whose negative scores
            below 50; pairs with an unscored answer are dropped.
        held_out: share of pair groups, between 0 and 1, kept from the fit, for the sign and the
            held-out AUC.

    Raises:
        BadInputError: no paired set, one that is answered in part, too few pairs left, a rule that
            selects no token in some prompt, or prompts that do not fit the context.
    """
    fit.method(method)  # an unknown name is refused before anything runs
    _check_share(held_out)
    activations = contrast_activations(
        model,
        contrast,
        layers=layers,
        position=position,
        pooling=pooling,
        judge=judge,
        max_new_tokens=max_new_tokens,
        truncate=truncate,
        batch_tokens=batch_tokens,
    )
    return fit_vectors(activations, method=method, held_out=held_out, seed=seed)


@dataclass(frozen=True)
class ContrastActivations:
    """Pooled activations of a contrast set, from which vectors and their nulls are fitted.

    Attributes:
        trait: the contrast set's trait.
        identity: the model they were read in.
        contrast_hash: hash of the contrast set.
        position: the position rule that was read.
        pooling: how tokens became one row per prompt.
        groups: per pair, its group.
        pairs: per site, positive and negative rows `[pair d_model]`, float32, on the CPU.
    """

    trait: str
    identity: ModelIdentity
    contrast_hash: str
    position: str
    pooling: Pooling
    groups: tuple[str, ...]
    pairs: Mapping[Site, Pairs]


def contrast_activations(
    model: HookedModel,
    contrast: ContrastSet,
    *,
    layers: str | int | Iterable[int] = "all",
    position: str | None = None,
    pooling: Pooling = "mean",
    judge: Judge | None = None,
    max_new_tokens: int = 32,
    truncate: Truncate | None = None,
    batch_tokens: int | None = None,
) -> ContrastActivations:
    """Answer the contrast set where it needs answers, and read it; arguments as for `extract`."""
    if pooling == "none":
        raise BadInputError(
            "A vector is fitted on one row per prompt.", got=pooling, valid=("mean", "last", "max")
        )
    sites = sites_at(parse_layers(layers, model))
    generate = judge is not None or reads_answers(position)
    answered = answer_pairs(model, contrast, generate, max_new_tokens, truncate, batch_tokens)
    if judge is not None:
        answered = judged(model, answered, judge)
    if not answered.positive:
        raise BadInputError(
            f"No pair of the contrast set {contrast.trait!r} is left to fit a vector on.",
            got=f"{len(contrast.positive)} pairs",
            fix="The model left answers empty, or the judge kept none: read some of them.",
        )
    rule = position or (POSITION_OF_ANSWERS if answered.has_answers else POSITION_OF_PROMPTS)
    positive, negative = (
        _activations(model, side, sites, rule, pooling, batch_tokens)
        for side in (answered.positive, answered.negative)
    )
    return ContrastActivations(
        trait=contrast.trait,
        identity=identify(model),
        contrast_hash=contrast.hash,
        position=rule,
        pooling=pooling,
        groups=tuple(item.cluster for item in answered.positive),
        pairs={site: (positive[site], negative[site]) for site in sites},
    )


def fit_vectors(
    activations: ContrastActivations,
    *,
    method: str = "mean_difference",
    held_out: float = 0.25,
    seed: int = 0,
) -> VectorSet:
    """One vector per site; sign and held-out AUC from pair groups that the fit has not seen."""
    fitting = fit.method(method)
    _check_share(held_out)
    held = _held_out(activations.groups, held_out, seed)
    vectors = []
    for site, pairs in activations.pairs.items():
        basis = Basis(
            model=activations.identity,
            site=site,
            position=activations.position,
            pooling=activations.pooling,
            method=method,
            contrast_hash=activations.contrast_hash,
            split=f"{held_out:g} of pair groups held out, seed {seed}",
        )
        with threads_for(pairs[0].numel()):
            vectors.append(_fit_one(activations.trait, pairs, held, fitting, basis, seed))
    return VectorSet(vectors)


def shuffled_directions(
    activations: ContrastActivations, site: Site, *, method: str, n: int, seed: int
) -> Float[Tensor, "component d_model"]:
    """Unit directions of the same method and texts whose labels mean nothing: a null.

    In each, half of the pairs (drawn anew) swap their sides, so that what the positives share
    cancels out and the variation within the classes stays.
    """
    fitting = fit.method(method)
    positive, negative = activations.pairs[site]
    rng = np.random.default_rng(seed)
    directions = []
    for _ in range(n):
        swap = torch.zeros(len(positive), dtype=torch.bool)
        swap[rng.permutation(len(positive))[: len(positive) // 2]] = True
        first = torch.where(swap[:, None], negative, positive)
        second = torch.where(swap[:, None], positive, negative)
        directions.append(geometry.unit(fitting(first, second).float()))
    return torch.stack(directions)


def _check_share(held_out: float) -> None:
    if not 0 < held_out < 1:
        raise BadInputError("The held-out share lies between 0 and 1.", got=held_out)


def _held_out(groups: Sequence[str], share: float, seed: int) -> Bool[np.ndarray, " pair"]:
    """Which pairs are kept from the fit: whole groups, drawn with `seed`."""
    names = sorted(set(groups))
    n_held = max(round(len(names) * share), 1)
    if len(names) - n_held < 2:
        raise BadInputError(
            "Too few pair groups are left to fit a vector and to check its sign.",
            got=f"{len(names)} groups of {len(groups)} pairs",
            fix="Give more pairs, or a judge that keeps more of them.",
        )
    chosen = set(np.random.default_rng(seed).permutation(names)[:n_held].tolist())
    return np.array([group in chosen for group in groups])


def _activations(
    model: HookedModel,
    prompts: list[Rendered],
    sites: Sequence[Site],
    rule: str,
    pooling: Pooling,
    batch_tokens: int | None,
) -> dict[Site, Float[Tensor, "pair d_model"]]:
    rows = capture(model, prompts, sites, position=rule, pooling=pooling, batch_tokens=batch_tokens)
    empty = sorted(set(range(len(prompts))) - set(rows.prompt.tolist()))
    if empty:
        raise BadInputError(
            f"The position rule selects no token in {len(empty)} of {len(prompts)} prompts of a "
            "side, so that their pairs cannot be compared.",
            got=[prompts[index].prompt_id for index in empty[:5]],
            fix=f"Choose a rule that always selects one (not {rule}), or leave these pairs out.",
        )
    return {site: torch.from_numpy(values) for site, values in rows.values.items()}


def _fit_one(
    trait: str,
    pairs: Pairs,
    held: Bool[np.ndarray, " pair"],
    fitting: fit.Fit,
    basis: Basis,
    seed: int,
) -> TraitVector:
    used = torch.from_numpy(~held)
    positive, negative = pairs[0][used], pairs[1][used]
    held_positive, held_negative = pairs[0][~used], pairs[1][~used]
    direction = fit.orient(
        fitting(positive, negative), held_positive, held_negative
    ).direction.float()
    along = geometry.dot(torch.cat([positive, negative]), geometry.unit(direction)[None])[:, 0]
    return TraitVector.normalized(
        trait=trait,
        direction=direction,
        basis=basis,
        reference=Reference(
            mean=float(along.mean()),
            std=float(along.std()),
            n=len(along),
            source="fitting pairs of the contrast set, both sides",
        ),
        reliability=assess(positive, negative, held_positive, held_negative, fitting, seed=seed),
    )
