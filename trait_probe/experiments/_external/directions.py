"""Step 4: trait vectors for each level, fitted where that level is read, or from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from trait_probe.errors import BadInputError
from trait_probe.experiments._external.config import Config
from trait_probe.experiments._external.levels import PROMPT, RESPONSE
from trait_probe.experiments._fitting import contrasts, fit_traits, fitted_texts, named_in
from trait_probe.forward.answering import reads_answers
from trait_probe.hooks.sites import parse_layers
from trait_probe.identity import HookedModel
from trait_probe.prompts.contrast import ContrastSet, Source
from trait_probe.prompts.traits.schema import find_trait
from trait_probe.vectors import fit
from trait_probe.vectors.contrast_sets import contrast_set, language_of
from trait_probe.vectors.extract import (
    POSITION_OF_ANSWERS,
    POSITION_OF_PROMPTS,
    contrast_activations,
    fit_vectors,
)
from trait_probe.vectors.vector import TraitVector, VectorSet

RULES = {RESPONSE: POSITION_OF_ANSWERS, PROMPT: POSITION_OF_PROMPTS}


@dataclass(frozen=True)
class Directions:
    """What one level is projected on.

    Attributes:
        rule: position rule that the vectors were fitted at and rows are read at, pooled by mean.
        vectors: claimed traits and foils, each at the same layers.
        claimed, foils: names in `vectors`.
        contrasts: by trait, what its vectors were fitted on; traits of a file whose texts are not
            known here lack.
    """

    rule: str
    vectors: VectorSet
    claimed: tuple[str, ...]
    foils: tuple[str, ...]
    contrasts: Mapping[str, ContrastSet]

    @property
    def texts(self) -> tuple[str, ...]:
        """Requests and texts that vectors were fitted on."""
        return fitted_texts(self.contrasts.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Claimed traits, then foils."""
        return (*self.claimed, *self.foils)


@dataclass(frozen=True)
class Planned:
    """What one level's vectors will be fitted on, or the vectors of a file.

    Attributes:
        contrasts: by the name that the configuration gives a trait; of a file, by its trait.
        loaded: the file's directions.
    """

    contrasts: Mapping[str, ContrastSet]
    loaded: Directions | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """Requests and texts that vectors are fitted on."""
        return fitted_texts(self.contrasts.values())

    @property
    def answers(self) -> tuple[str, ...]:
        """Given answers that vectors are fitted on."""
        sides = [side for one in self.contrasts.values() for side in (one.positive, one.negative)]
        said = (prompt.response for side in sides for prompt in side)
        return tuple(dict.fromkeys(text for text in said if text))


def plan_directions(
    model: HookedModel, config: Config, levels: Sequence[str]
) -> dict[str, Planned]:
    """By level, before anything is read; a file of vectors is for some levels only.

    Raises:
        BadInputError: no such trait, two of one name, a file that fits no level; MismatchError: the
            file is of another model.
    """
    parse_layers(config.layers, model)
    fit.method(config.method)  # its error names those there are
    if config.vectors is not None:
        found = _from_file(model, config, levels)
        return {level: Planned(one.contrasts, one) for level, one in found.items()}
    names = (*config.traits, *config.foils)
    planned = {}
    if PROMPT in levels:
        planned[PROMPT] = Planned(contrasts(model, names))
    if RESPONSE in levels and not without_answers(model, config):
        planned[RESPONSE] = Planned(answer_contrasts(model, names))
    return planned


def without_answers(model: HookedModel, config: Config) -> list[str]:
    """Traits that have neither completions nor instructions: no answers to fit vectors on."""
    language = language_of(model)
    found = {name: find_trait(name, language) for name in (*config.traits, *config.foils)}
    return [name for name, trait in found.items() if not (trait.completions or trait.instructions)]


def fit_directions(
    model: HookedModel, config: Config, planned: Mapping[str, Planned]
) -> dict[str, Directions]:
    """Vectors of every level that was planned."""
    return {
        level: one.loaded or _fitted(model, config, level, one.contrasts)
        for level, one in planned.items()
    }


def _fitted(
    model: HookedModel, config: Config, level: str, sets: Mapping[str, ContrastSet]
) -> Directions:
    if level == PROMPT:
        vectors, _ = fit_traits(
            model,
            tuple(sets),
            layers=config.layers,
            method=config.method,
            seed=config.seed,
        )
    else:
        vectors = _fit_on_answers(model, config, list(sets.values()))
    return Directions(
        rule=RULES[level],
        vectors=vectors,
        claimed=tuple(sets[name].trait for name in config.traits),
        foils=tuple(sets[name].trait for name in config.foils),
        contrasts={found.trait: found for found in sets.values()},
    )


def answer_contrasts(model: HookedModel, names: Sequence[str]) -> dict[str, ContrastSet]:
    """By name, each trait's contrast of answers: given ones where it has them, else the model's.

    Raises:
        BadInputError: as `contrasts`.
    """
    contrasts(model, names)  # names and doubled traits
    language = language_of(model)
    found = {}
    for name in names:
        source: Source = "completions" if find_trait(name, language).completions else "instructions"
        found[name] = contrast_set(name, model, source=source)
    return found


def _fit_on_answers(model: HookedModel, config: Config, sets: Sequence[ContrastSet]) -> VectorSet:
    fitted: list[TraitVector] = []
    for contrast in sets:
        read = contrast_activations(
            model,
            contrast,
            layers=config.layers,
            position=POSITION_OF_ANSWERS,
            max_new_tokens=config.max_new_tokens,
        )
        fitted += fit_vectors(read, method=config.method, seed=config.seed)
    return VectorSet(fitted)


def _from_file(model: HookedModel, config: Config, levels: Sequence[str]) -> dict[str, Directions]:
    whole = VectorSet.load(Path(str(config.vectors)), model=model)
    layers = set(whole.layers if config.layers == "all" else parse_layers(config.layers, model))
    named = tuple(named_in(name, whole, "--traits") for name in config.traits)
    others = tuple(
        name for foil in config.foils for name in whole.traits if foil in (name, _short(name))
    )
    wanted = VectorSet(v for v in whole if v.layer in layers and v.trait in (*named, *others))
    found = {}
    for level in levels:
        own = VectorSet(v for v in wanted if reads_answers(v.basis.position) == (level == RESPONSE))
        if set(named) <= set(own.traits):
            found[level] = _of_level(model, own, named, others)
    if not found:
        raise BadInputError(
            "The vectors of the file were fitted where nothing is read here.",
            got=sorted({vector.basis.position for vector in whole}),
            valid=[f"{rule} (level {level})" for level, rule in RULES.items() if level in levels],
            fix="Extract them at one of these positions.",
        )
    return found


def _of_level(
    model: HookedModel, own: VectorSet, named: tuple[str, ...], others: tuple[str, ...]
) -> Directions:
    ways = sorted({(vector.basis.position, vector.basis.pooling) for vector in own})
    if len(ways) > 1 or (ways[0][1] != "mean" and ways[0][0] != POSITION_OF_PROMPTS):
        raise BadInputError(
            "Vectors of one level are fitted at one position, pooled by mean.",
            got=ways,
            fix="Keep those of each position in a file of their own.",
        )
    return Directions(
        rule=ways[0][0],
        vectors=own,
        claimed=named,
        foils=tuple(name for name in others if name in own.traits),
        contrasts=_known_contrasts(model, own),
    )


def _known_contrasts(model: HookedModel, own: VectorSet) -> dict[str, ContrastSet]:
    """By trait, the texts that its vectors were fitted on, where they ship with the package."""
    hashes = {vector.trait: vector.basis.contrast_hash for vector in own}
    found = {}
    for trait in own.traits:
        for source in get_args(Source):
            try:
                contrast = contrast_set(trait, model, source=source)
            except BadInputError:  # the user's own trait, or none of its texts are of this kind
                continue
            if contrast.hash == hashes[trait]:
                found[trait] = contrast
    return found


def _short(name: str) -> str:
    return name.rsplit("/", 1)[-1]
