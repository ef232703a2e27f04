"""Where the vectors come from: fitted on the base, read from a file, or mapped from another model.

Two sets are read: at the last prompt token, and on reply tokens. Fitted here, each is fitted where
it is read. A file has vectors of one position rule, which both readings then use; the report says
so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from trait_probe.basis import Site
from trait_probe.errors import BadInputError
from trait_probe.evidence.splits import text_id
from trait_probe.experiments._emergent.config import Config
from trait_probe.experiments._fitting import contrasts, fitted_texts, named_in
from trait_probe.experiments._prompts import asked_texts, ids_among
from trait_probe.experiments._run import load_named
from trait_probe.forward.generate import generate
from trait_probe.forward.rendering import has_chat_template
from trait_probe.hooks.sites import parse_layers
from trait_probe.identity import HookedModel, identify
from trait_probe.organisms.prompt_sets import benign_prompts
from trait_probe.prompts.contrast import ContrastSet
from trait_probe.prompts.positions import Pooling
from trait_probe.prompts.prompt import PromptSet
from trait_probe.prompts.sources.load import load_prompts
from trait_probe.vectors.contrast_sets import language_of
from trait_probe.vectors.extract import (
    POSITION_OF_ANSWERS,
    POSITION_OF_PROMPTS,
    ContrastActivations,
    contrast_activations,
    fit_vectors,
)
from trait_probe.vectors.transfer import TransferCheck, transfer
from trait_probe.vectors.vector import VectorSet

AT_PROMPT, AT_REPLY = POSITION_OF_PROMPTS, POSITION_OF_ANSWERS
_NAMING = "--traits, --unrelated"  # flags
N_SHARED = 600
_SHARED_SEED = 7919  # added to the run's seed: other draws than the tested prompts


@dataclass(frozen=True)
class Directions:
    """Vectors by position rule, and what they rest on.

    Attributes:
        claimed: names of the traits that are claimed.
        vectors: at `AT_PROMPT` and `AT_REPLY`, each trait at the same sites.
        activations: by rule and trait, contrast activations of the base whose labels can be
            shuffled; without a trait's, its claims lack a null and are not testable.
        fitted_on: `text_id`s of every text that vectors or maps were estimated on.
        method: how the vectors were fitted, and so how directions with shuffled labels are.
        notes: what a reader must know.
        transfer: one row per vector that was mapped, for the report.
    """

    claimed: tuple[str, ...]
    vectors: Mapping[str, VectorSet]
    activations: Mapping[str, Mapping[str, ContrastActivations]]
    fitted_on: frozenset[str]
    method: str
    notes: tuple[str, ...] = ()
    transfer: Sequence[Mapping[str, object]] = field(default_factory=tuple)

    @property
    def unknown(self) -> frozenset[str]:
        """Claimed traits whose contrast texts are not known, so that no prompt can be checked."""
        return frozenset(self.claimed) - set(self.activations[AT_PROMPT])


def directions(config: Config, base: HookedModel, tested: PromptSet) -> Directions:
    """From the source that the configuration names.

    Args:
        tested: prompts that built-in texts of a map must not have.
    """
    if config.vectors is not None:
        return _from_file(config, base)
    if config.vectors_from is None:
        return _fitted(config, base)
    source = load_named("vectors-from", config.vectors_from, str(config.dtype))
    return _mapped(config, base, source, tested)


# --- fitted ---------------------------------------------------------------------------------------


def _fitted(config: Config, model: HookedModel) -> Directions:
    sets = _contrast_sets(config, model)
    vectors, activations = {}, {}
    for rule in (AT_PROMPT, AT_REPLY):
        found = {one.trait: _activations(model, one, rule, config) for one in sets}
        activations[rule] = found
        vectors[rule] = VectorSet(
            vector
            for one in found.values()
            for vector in fit_vectors(one, method=config.method, seed=config.seed)
        )
    claimed = tuple(one.trait for one in sets[: len(config.traits)])
    return Directions(claimed, vectors, activations, _ids(fitted_texts(sets)), config.method)


def contrast_texts(config: Config, base: HookedModel) -> frozenset[str]:
    """`text_id`s that tested prompts must not have, before anything is read.

    Raises:
        BadInputError: no such trait or file, or two traits of one name.
        MismatchError: a file of another model's vectors.
    """
    if config.vectors is None:
        return _ids(fitted_texts(_contrast_sets(config, base)))
    return _ids(fitted_texts(_known_contrasts(_load(config, base), base).values()))


def _contrast_sets(config: Config, model: HookedModel) -> list[ContrastSet]:
    """Of claimed and unrelated traits, in this order.

    Raises:
        BadInputError: two of them have one name.
    """
    named = (*config.traits, *(config.unrelated or ()))
    return list(contrasts(model, named).values())


def _ids(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(map(text_id, texts))


def _activations(
    model: HookedModel, contrast: ContrastSet, rule: str, config: Config
) -> ContrastActivations:
    # Completions share their opening and differ only in the words that follow it.
    at_prompt = rule == AT_PROMPT and contrast.source != "completions"
    return contrast_activations(
        model,
        contrast,
        layers=config.layers,
        position=AT_PROMPT if at_prompt else None,
        max_new_tokens=config.max_new_tokens,
    )


# --- from a file ----------------------------------------------------------------------------------


def _from_file(config: Config, base: HookedModel) -> Directions:
    loaded = _load(config, base)
    claimed = tuple(named_in(trait, loaded, _NAMING) for trait in config.traits)
    rules = sorted({vector.basis.position for vector in loaded})
    notes = [
        f"The vectors of the file were fitted at {', '.join(rules)}; this run reads them at "
        f"{AT_PROMPT} and {AT_REPLY}. A reading elsewhere than the fit is another quantity."
    ]
    mine = identify(base).weights_hash
    if others := sorted({v.basis.model.id for v in loaded if v.basis.model.weights_hash != mine}):
        notes.append(
            f"The vectors were fitted on {', '.join(others)}, not on the base: the two are taken "
            "to be fine-tunes of one model, and nothing here checks that."
        )
    sets = _known_contrasts(loaded, base)
    found = {
        trait: again
        for trait, contrast in sets.items()
        if (again := _as_fitted(base, contrast, loaded, trait, config)) is not None
    }
    if unlike := [trait for trait in sets if trait not in found]:
        notes.append(
            f"The vectors of {', '.join(unlike)} were not fitted at one position with one pooling "
            "on the residual stream behind a layer: there is no null of shuffled labels for them."
        )
    lost = [trait for trait in loaded.traits if trait not in sets]
    if lost:
        notes.append(
            f"The texts that {', '.join(lost)} were fitted on are not known here, so there is no "
            "null of shuffled labels for them, and whether prompts were fitted on is not checked."
        )
    both = {AT_PROMPT: loaded, AT_REPLY: loaded}
    shared = {AT_PROMPT: found, AT_REPLY: found}
    texts = _ids(fitted_texts(sets.values()))
    return Directions(claimed, both, shared, texts, _method_of(loaded), tuple(notes))


def _as_fitted(
    base: HookedModel, contrast: ContrastSet, loaded: VectorSet, trait: str, config: Config
) -> ContrastActivations | None:
    """The contrast set, read as the trait's vectors were; None where that cannot be."""
    mine = [vector for vector in loaded if vector.trait == trait]
    ways = {(vector.basis.position, vector.basis.pooling) for vector in mine}
    if len(ways) > 1 or any(vector.site != Site(vector.layer) for vector in mine):
        return None
    ((position, pooling),) = ways
    return contrast_activations(
        base,
        contrast,
        layers=list(loaded.layers),
        position=position,
        pooling=cast(Pooling, pooling),
        max_new_tokens=config.max_new_tokens,
    )


def _method_of(loaded: VectorSet) -> str:
    """The one method of all vectors: directions with shuffled labels must be fitted likewise."""
    methods = sorted({vector.basis.method for vector in loaded})
    if len(methods) > 1:
        raise BadInputError(
            "The vectors of a file must be fitted by one method, or no null is like all of them.",
            got=methods,
            fix="Keep the vectors of each method in a file of their own.",
        )
    return methods[0]


def _load(config: Config, base: HookedModel) -> VectorSet:
    """Vectors of the layers and traits that the configuration names."""
    whole = VectorSet.load(Path(str(config.vectors)), model=base, lineage_ok=True)
    layers = set(whole.layers if config.layers == "all" else parse_layers(config.layers, base))
    if missing := sorted(layers - set(whole.layers)):
        raise BadInputError(
            "The vector file lacks layers that --layers names.",
            got=missing,
            valid=whole.layers,
            fix="Leave --layers out, or name layers of the file.",
        )
    named = whole.traits
    if config.unrelated is not None:
        named = tuple(
            named_in(name, whole, _NAMING) for name in (*config.traits, *config.unrelated)
        )
    return VectorSet(v for v in whole if v.layer in layers and v.trait in named)


def _known_contrasts(loaded: VectorSet, base: HookedModel) -> dict[str, ContrastSet]:
    """By trait, the texts that its vectors were fitted on, where they ship with the package."""
    hashes = {vector.trait: vector.basis.contrast_hash for vector in loaded}
    found = {}
    for trait in loaded.traits:
        try:
            (contrast,) = contrasts(base, [trait]).values()
        except BadInputError:  # the user's own trait: its texts lie elsewhere
            continue
        if contrast.hash == hashes[trait]:
            found[trait] = contrast
    return found


# --- from another model ---------------------------------------------------------------------------


def _mapped(
    config: Config, base: HookedModel, source: HookedModel, tested: PromptSet
) -> Directions:
    """Vectors of another model at sites where every claimed trait passes its checks.

    Raises:
        TransferRefusedError: a claimed trait passes nowhere; with the reasons.
    """
    own = _fitted(config, base)
    there = _fitted(config.model_copy(update={"layers": "all"}), source)
    unseen = own.fitted_on | there.fitted_on | _ids(asked_texts(tested))
    shared = _shared_prompts(config, base, unseen)
    replies = generate(base, shared, max_new_tokens=config.max_new_tokens)
    answered = PromptSet(
        [replace(p, response=r) for p, r in zip(shared, replies, strict=True) if r.strip()]
    )
    vectors, rows = {}, []
    asked = set(parse_layers(config.layers, base))
    for rule, texts in ((AT_PROMPT, shared), (AT_REPLY, answered)):
        moved = transfer(
            there.vectors[rule],
            source,
            base,
            texts,
            n_random=config.n_random,
            max_new_tokens=config.max_new_tokens,
            seed=config.seed,
        )
        rows += [_check_row(check, rule) for check in moved.checks]
        passed = VectorSet(vector for vector in moved.vectors if vector.layer in asked)
        moved.require(*own.claimed)
        vectors[rule] = _where_all_pass(own.claimed, passed)
    notes = (
        f"Vectors come from {identify(source).id} through a linear map fitted on "
        f"{len(shared)} shared texts that are not tested; see the table of vectors. Directions "
        "with shuffled labels are fitted on the base itself, and did not go through the map.",
    )
    return Directions(
        claimed=own.claimed,
        vectors=vectors,
        activations=own.activations,
        fitted_on=own.fitted_on | there.fitted_on | _ids(asked_texts(shared)),
        method=config.method,
        notes=notes,
        transfer=tuple(rows),
    )


def _where_all_pass(claimed: Sequence[str], passed: VectorSet) -> VectorSet:
    """Claimed traits at the sites that all of them have, with others that have these sites too."""

    def sites(trait: str) -> set[Site]:
        return {vector.site for vector in passed if vector.trait == trait}

    common = set.intersection(*(sites(trait) for trait in claimed))
    if not common:
        raise BadInputError(
            "None of the layers that --layers names has usable vectors of every claimed trait.",
            got={trait: sorted(str(site) for site in sites(trait)) for trait in claimed},
            fix="Claim one trait at a time, or take more layers.",
        )
    kept = [trait for trait in passed.traits if common <= sites(trait)]
    return VectorSet(v for v in passed if v.trait in kept and v.site in common)


def _check_row(check: TransferCheck, rule: str) -> dict[str, object]:
    return {
        "trait": check.trait,
        "from": str(check.source_site),
        "to": str(check.target_site),
        "read at": rule,
        "held-out R2": check.r2,
        "AUROC on its own contrast set": check.auroc,
        "above random, share": check.null_percentile,
        "cosine with the base's own": check.own_cosine,
        "refused": check.refused or "no",
    }


def _require_new(shared: PromptSet, unseen: frozenset[str]) -> PromptSet:
    if known := ids_among(shared, unseen):
        raise BadInputError(
            f"{len(known)} of {len(shared)} shared texts are also tested in this run, or are texts "
            "that trait vectors are fitted on; a map must not know them.",
            got=known[:5],
            fix="Leave them out of --shared-text, or out of --prompts.",
        )
    return shared


def _shared_prompts(config: Config, base: HookedModel, unseen: frozenset[str]) -> PromptSet:
    if config.shared_text is not None:
        found: PromptSet = load_prompts(config.shared_text)
        return _require_new(found, unseen)
    if language_of(base) != "organism" or not has_chat_template(base):
        raise BadInputError(
            "Mapping vectors from another model takes several hundred texts that both read.",
            got=config.base,
            fix="Give --shared-text FILE, prompts that are not tested in this run.",
        )
    return benign_prompts(N_SHARED, config.seed + _SHARED_SEED, unseen=unseen)
