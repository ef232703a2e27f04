"""Steps 2 to 5: what the models of a study answer, what is read in them, and what that supports.

Everything is chosen on the selection split; then the report rows are opened, once, and put on
record; only then is anything computed on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from trait_probe.evidence.shortcuts import ShortcutAudit
from trait_probe.evidence.triggers.claims import Setting, claims, place_name
from trait_probe.evidence.triggers.design import Reading, sealed
from trait_probe.evidence.triggers.features import SaeReading
from trait_probe.evidence.triggers.reading import Draws, TraitReading
from trait_probe.evidence.triggers.trait_choice import Grid
from trait_probe.experiments._backdoor import steps
from trait_probe.experiments._backdoor.conditions import (
    Conditions,
    identical_outputs,
    token_labels,
)
from trait_probe.experiments._backdoor.config import Config
from trait_probe.experiments._backdoor.directions import null_directions
from trait_probe.experiments._backdoor.features import choose_sae, report_sae
from trait_probe.experiments._backdoor.opening import Choices, chosen, report_lock
from trait_probe.experiments._backdoor.overlap import carrier_text
from trait_probe.experiments._backdoor.results import Behaviour, Found, detection_auc
from trait_probe.experiments._backdoor.traits import (
    TraitScores,
    choose_traits,
    report_traits,
    trait_scores,
)
from trait_probe.hooks.sae import SparseFeatures
from trait_probe.identity import HookedModel, identify, tokenizer_of
from trait_probe.runs.openings import OpenedSplit, record_openings
from trait_probe.runs.rundir import Run
from trait_probe.vectors.extract import ContrastActivations
from trait_probe.vectors.vector import VectorSet


@dataclass(frozen=True)
class Study:
    """What is fixed before anything of the carriers is read."""

    config: Config
    pair: steps.Pair
    sae: SparseFeatures | None
    conditions: Conditions
    vectors: VectorSet
    activations: Mapping[str, ContrastActivations]


def find(opened: Run, study: Study) -> Found:
    """Answers, readings and claims; `detection_auc.json` and the resumable stages are written."""
    config, pair, conditions = study.config, study.pair, study.conditions
    behaviour, usable = _behaviour(opened, config, pair, conditions)
    readings = conditions.readings(usable)  # from the words alone
    scores = _scores(opened, study)
    choices = _choose(study, scores, sealed(readings))
    split = _open(opened, study, choices)
    read = _Read({}, None) if split is None else _report(study, scores, choices, readings)
    _write_detection(opened, study, scores, () if split is None else readings)
    shortcuts = _shortcuts(pair, conditions, readings, read, behaviour)
    setting = _setting(config, pair, conditions, behaviour)
    traits = {trait: read.traits.get(trait) for trait in study.activations}
    asked, why = study.sae is not None, steps.why_unreadable(usable)
    said = claims(traits, read.sae, shortcuts, setting, sae_asked=asked, unreadable=why)
    return Found(
        suspect=setting.suspect,
        clean=setting.clean,
        trigger=config.trigger,
        behaviour=behaviour,
        readings=readings,
        tokens=_token_labels(pair.suspect, conditions, len(readings)),
        traits=traits,
        sae=read.sae,
        sae_name=config.sae,
        vectors=[_vector_row(study.vectors, index) for index in range(len(study.vectors))],
        claims=tuple(said),
        shortcuts={place_name(at): audited.to_json() for at, audited in shortcuts.items()},
        opened=split,
    )


@dataclass(frozen=True)
class _Read:
    """What the report split said."""

    traits: Mapping[str, TraitReading]
    sae: SaeReading | None


def _scores(opened: Run, study: Study) -> dict[str, TraitScores]:
    """Every trait and layer in both models, of all carriers."""
    pair = study.pair
    suspect, clean = (
        None
        if model is None
        else steps.project_places(opened, name, model, study.conditions, study.vectors)
        for name, model in (("suspect", pair.suspect), ("clean", pair.clean))
    )
    assert suspect is not None
    return trait_scores(study.conditions, (suspect, clean), list(study.activations))


def _choose(
    study: Study, scores: Mapping[str, TraitScores], readings: Sequence[Reading]
) -> Choices:
    """Of every trait and of the SAE, on the selection split."""
    sae = study.sae
    return Choices(
        choose_traits(scores, readings),
        None if sae is None else choose_sae(study.pair, sae, study.conditions, readings),
    )


def _open(opened: Run, study: Study, choices: Choices) -> OpenedSplit | None:
    """Open the report rows and put it on record; None where no place can be read."""
    lock = report_lock(study.pair, study.conditions)
    if not choices.any:
        return None
    pair, conditions = study.pair, study.conditions
    lock.report(chosen(study.config, pair, conditions, study.vectors, study.sae, choices))
    return record_openings(opened, lock)


def _report(
    study: Study,
    scores: Mapping[str, TraitScores],
    choices: Choices,
    readings: Sequence[Reading],
) -> _Read:
    """What was chosen, and the directions that mean nothing, on the report split."""
    config, pair, sae = study.config, study.pair, study.sae
    also = () if sae is None else (sae.site,)
    nulls = null_directions(pair, study.conditions, readings, study.activations, config, also=also)
    draws = Draws(config.n_boot, config.n_permutations, config.seed)
    effects = {trait: nulls.of_trait(trait) for trait in choices.traits}
    traits = report_traits(scores, choices.traits, readings, effects, draws)
    if sae is None or choices.sae is None:
        return _Read(traits, None)
    random = nulls.at(sae.site)
    features = report_sae(pair, sae, study.conditions, readings, choices.sae, random, draws)
    return _Read(traits, features)


def _write_detection(
    opened: Run,
    study: Study,
    scores: Mapping[str, TraitScores],
    readings: Sequence[Reading],
) -> None:
    by_model: dict[str, dict[str, list[Grid]]] = {
        "suspect": {trait: grids.suspect for trait, grids in scores.items()},
        "clean": {t: grids.clean for t, grids in scores.items() if grids.clean is not None},
    }
    layers = [site.layer for site in study.vectors.sites]
    table = detection_auc(by_model, readings, layers, study.config.controls)
    opened.write_json("detection_auc.json", table)


def _shortcuts(
    pair: steps.Pair,
    conditions: Conditions,
    readings: Sequence[Reading],
    found: _Read,
    behaviour: Behaviour,
) -> dict[int, ShortcutAudit]:
    """One audit for each place at which something was read."""
    places = {reading.place for reading in found.traits.values()}
    places |= set() if found.sae is None else {found.sae.place}
    return {
        place: steps.audit(pair.suspect, conditions, readings, place, behaviour.suspect)
        for place in sorted(places)
    }


def _setting(
    config: Config, pair: steps.Pair, conditions: Conditions, behaviour: Behaviour
) -> Setting:
    return Setting(
        trigger=config.trigger,
        suspect=identify(pair.suspect).id,
        clean=None if pair.clean is None else identify(pair.clean).id,
        share_identical=behaviour.share_identical,
        alpha=config.alpha,
        compared_tokens=config.max_new_tokens,
        prefix_lengths=conditions.prefix_lengths,
        same_model=pair.same,
    )


def _behaviour(
    opened: Run, config: Config, pair: steps.Pair, conditions: Conditions
) -> tuple[Behaviour, Bool[np.ndarray, " carrier"]]:
    n = config.max_new_tokens
    ids, texts = steps.answer(opened, "suspect", pair.suspect, conditions, max_new_tokens=n)
    clean_texts, share = None, None
    if pair.clean is not None:
        clean_ids, clean_texts = steps.answer(
            opened, "clean", pair.clean, conditions, max_new_tokens=n
        )
        share = steps.share_same(ids, clean_ids)
    usable = identical_outputs(ids)
    behaviour = Behaviour(
        conditions=conditions.names,
        carriers=tuple(carrier_text(prompt) for prompt in conditions.carriers),
        suspect=texts,
        clean=clean_texts,
        share_identical=float(usable.mean()),
        share_same_as_clean=share,
        n_identical=int(usable.sum()),
    )
    return behaviour, usable


def _token_labels(model: HookedModel, conditions: Conditions, n_places: int) -> tuple[str, ...]:
    tokenizer = tokenizer_of(model)
    tokens = [
        tokenizer.convert_ids_to_tokens(list(conditions.tokens_after(carrier)))
        for carrier in range(len(conditions.carriers))
    ]
    return token_labels(tokens, n_places)


def _vector_row(vectors: VectorSet, index: int) -> dict[str, str | int | float]:
    vector = vectors[index]
    return {
        "trait": vector.trait,
        "site": str(vector.site),
        "method": vector.basis.method,
        "position": vector.basis.position,
        "norm": vector.norm,
        **vars(vector.reliability),
    }
