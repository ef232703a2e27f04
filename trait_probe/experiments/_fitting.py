"""Trait vectors as experiments fit them: where prompts are read before any answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trait_probe.errors import BadInputError, nearest
from trait_probe.experiments._prompts import asked_texts
from trait_probe.identity import HookedModel
from trait_probe.prompts.contrast import ContrastSet
from trait_probe.vectors.contrast_sets import contrast_set
from trait_probe.vectors.extract import (
    POSITION_OF_PROMPTS,
    ContrastActivations,
    contrast_activations,
    fit_vectors,
)
from trait_probe.vectors.vector import VectorSet


def fit_traits(
    model: HookedModel,
    traits: Sequence[str],
    *,
    layers: str = "all",
    method: str = "mean_difference",
    seed: int = 0,
) -> tuple[VectorSet, dict[str, ContrastActivations]]:
    """Vectors of every trait and layer, and the contrast activations they were fitted on.

    Prompts are read before any answer, so vectors are fitted there too: position and state match.
    Completions share their opening and differ only in the words that follow it.

    Raises:
        BadInputError: no such trait, or two traits have one name.
    """
    activations: dict[str, ContrastActivations] = {}
    for contrast in contrasts(model, traits).values():
        position = None if contrast.source == "completions" else POSITION_OF_PROMPTS
        found = contrast_activations(model, contrast, layers=layers, position=position)
        activations[found.trait] = found
    vectors = [
        vector
        for found in activations.values()
        for vector in fit_vectors(found, method=method, seed=seed)
    ]
    return VectorSet(vectors), activations


def contrasts(model: HookedModel, traits: Sequence[str]) -> dict[str, ContrastSet]:
    """Each named trait's texts in the model's language and form, before anything is read.

    Raises:
        BadInputError: no such trait, a malformed file, or two traits have one name.
    """
    found = {name: contrast_set(name, model) for name in traits}
    names = [one.trait for one in found.values()]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise BadInputError(
            "Two of the traits have the same name, and only one could be told from the other.",
            got=doubled,
            fix="Leave one out, or rename 'trait:' in your own file.",
        )
    return found


def fitted_texts(sets: Iterable[ContrastSet]) -> tuple[str, ...]:
    """Every request and text that a vector is fitted on, each once."""
    return asked_texts(prompt for one in sets for prompt in (*one.positive, *one.negative))


def named_in(trait: str, vectors: VectorSet, flags: str) -> str:
    """The trait of a vector file that a whole name, or its part after the slash, means.

    Args:
        flags: what names traits, for the message.

    Raises:
        BadInputError: none, or several.
    """
    named = [name for name in vectors.traits if trait in (name, name.rsplit("/", 1)[-1])]
    if len(named) != 1:
        raise BadInputError(
            "The vector file lacks a trait that is named.",
            got=trait,
            valid=nearest(trait, vectors.traits, len(vectors.traits)),
            fix=f"Name traits of the file ({flags}).",
        )
    return named[0]
