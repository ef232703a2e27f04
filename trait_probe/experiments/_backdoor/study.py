"""Steps 2 to 5: what the models of a study answer, what is read in them, and what that supports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from trait_probe.evidence.shortcuts import ShortcutAudit
from trait_probe.evidence.trigger_claims import Setting, claims
from trait_probe.evidence.trigger_design import Reading
from trait_probe.evidence.trigger_features import SaeReading
from trait_probe.evidence.trigger_reading import Draws, TraitReading
from trait_probe.experiments._backdoor import steps
from trait_probe.experiments._backdoor.conditions import (
    Conditions,
    identical_outputs,
    token_labels,
)
from trait_probe.experiments._backdoor.config import Config
from trait_probe.experiments._backdoor.directions import NullDirections, null_directions
from trait_probe.experiments._backdoor.features import read_features
from trait_probe.experiments._backdoor.results import Behaviour, Found, detection_auc
from trait_probe.forward.projections import Projections
from trait_probe.hooks.sae import SparseFeatures
from trait_probe.identity import HookedModel, identify, tokenizer_of
from trait_probe.prompts.prompt import Prompt
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
    readings = conditions.readings(usable)
    traits, sae = _read(opened, study, readings)
    shortcuts = _shortcuts(pair, conditions, readings, [*traits.values(), sae])
    setting = _setting(config, pair, conditions, behaviour)
    said = claims(
        traits,
        sae,
        shortcuts,
        setting,
        sae_asked=study.sae is not None,
        unreadable=steps.why_unreadable(usable),
    )
    vectors = study.vectors
    return Found(
        suspect=setting.suspect,
        clean=setting.clean,
        trigger=config.trigger,
        behaviour=behaviour,
        readings=readings,
        tokens=_token_labels(pair.suspect, conditions, len(readings)),
        traits=traits,
        sae=sae,
        sae_name=config.sae,
        vectors=[_vector_row(vectors, index) for index in range(len(vectors))],
        claims=tuple(said),
        shortcuts={name: audited.to_json() for name, audited in shortcuts.items()},
    )


def _read(
    opened: Run, study: Study, readings: Sequence[Reading]
) -> tuple[dict[str, TraitReading | None], SaeReading | None]:
    """Every trait and, where there is one, the SAE."""
    config, pair, sae = study.config, study.pair, study.sae
    projections = tuple(
        None
        if model is None
        else steps.project_places(opened, name, model, study.conditions, study.vectors)
        for name, model in (("suspect", pair.suspect), ("clean", pair.clean))
    )
    assert isinstance(projections[0], Projections)
    nulls = null_directions(
        pair,
        study.conditions,
        readings,
        study.activations,
        config,
        also=() if sae is None else (sae.site,),
    )
    traits, scores = steps.read_traits(
        study.conditions,
        readings,
        (projections[0], projections[1]),
        {trait: nulls.of_trait(trait) for trait in study.activations},
        config,
    )
    layers = [site.layer for site in study.vectors.sites]
    opened.write_json(
        "detection_auc.json", detection_auc(scores, readings, layers, config.controls)
    )
    return traits, None if sae is None else _read_sae(study, sae, readings, nulls)


def _read_sae(
    study: Study, sae: SparseFeatures, readings: Sequence[Reading], nulls: NullDirections
) -> SaeReading | None:
    config, pair = study.config, study.pair
    draws = Draws(config.n_boot, config.n_permutations, config.seed)
    random = nulls.at(sae.site)
    return read_features(pair.suspect, pair.clean, sae, study.conditions, readings, random, draws)


def _shortcuts(
    pair: steps.Pair,
    conditions: Conditions,
    readings: Sequence[Reading],
    found: Sequence[TraitReading | SaeReading | None],
) -> dict[str, ShortcutAudit]:
    """One audit for each place at which something was read."""
    places = sorted({reading.place for reading in found if reading is not None})
    return {
        f"token {place + 1} after the trigger": steps.audit(
            pair.suspect, conditions, readings, place
        )
        for place in places
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
        carriers=tuple(_carrier_text(prompt) for prompt in conditions.carriers),
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


def _carrier_text(prompt: Prompt) -> str:
    return prompt.text if prompt.text is not None else prompt.messages[-1].content


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
