"""Wires the steps: models in, a `Result` and the run's files out."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from rich.console import Console

from trait_probe.evidence.claims import claims_json
from trait_probe.evidence.shortcuts import ShortcutAudit
from trait_probe.evidence.trigger_design import Reading
from trait_probe.experiments._backdoor import page, steps
from trait_probe.experiments._backdoor.conditions import (
    Conditions,
    identical_outputs,
    lay_out,
    token_labels,
)
from trait_probe.experiments._backdoor.config import NAME, Config
from trait_probe.experiments._backdoor.directions import null_directions
from trait_probe.experiments._backdoor.features import SaeReading, read_features
from trait_probe.experiments._backdoor.results import (
    Behaviour,
    Found,
    detection_auc,
    results_json,
)
from trait_probe.experiments._backdoor.traits import Draws, TraitReading
from trait_probe.experiments._backdoor.verdicts import Setting, claims
from trait_probe.experiments._handed_in import handed_in, require_named
from trait_probe.forward.projections import Projections
from trait_probe.hooks.sae import SparseFeatures, load_sae
from trait_probe.hooks.sites import parse_layers
from trait_probe.identity import HookedModel, identify, tokenizer_of, weights_hash
from trait_probe.models import load_model
from trait_probe.prompts.prompt import Prompt, PromptSet
from trait_probe.report.page import write_page
from trait_probe.report.save import find_chrome, save_figures
from trait_probe.runs.rundir import Run, open_run
from trait_probe.vectors.extract import ContrastActivations
from trait_probe.vectors.vector import VectorSet

PLAIN_WIDTH = 118  # characters


@dataclass(frozen=True)
class Result:
    """What `run` returns: the findings, `results.json` as data, and where the files are."""

    found: Found
    results: Mapping[str, object]
    folder: Path


def run(
    config: Config,
    out: Path | None,
    *,
    model: HookedModel | None,
    clean: HookedModel | None,
    prompts: PromptSet | None,
    console: Console | None,
) -> Result:
    """See `trait_probe.experiments.backdoor.run`."""
    config = _named(config, model, clean, prompts).resolved()
    settings = config.model_dump(mode="json")
    with open_run(out, experiment=NAME, config=settings) as opened:
        pair = _load_pair(config, model, clean)
        parse_layers(config.layers, pair.suspect)
        sae = None if config.sae is None else load_sae(config.sae, pair.suspect)
        conditions = lay_out(
            pair.suspect,
            steps.load_carriers(config, pair.suspect) if prompts is None else prompts,
            config.trigger,
            config.controls,
            n_places=config.n_places,
            new_tokens=config.max_new_tokens,
            seed=config.seed,
            truncate=config.truncate,
        )
        vectors, activations = steps.fit_traits(
            pair.reference,
            config.traits,
            layers=config.layers,
            method=config.method,
            seed=config.seed,
        )
        vectors.check(pair.suspect, lineage_ok=True)
        opened.record(
            suspect=identify(pair.suspect).to_dict(),
            clean=None if pair.clean is None else identify(pair.clean).to_dict(),
            carriers=conditions.carriers.hash,
            contrasts={name: found.contrast_hash for name, found in activations.items()},
            sae=None if sae is None else weights_hash(sae.sae.named_parameters()),
            seed=config.seed,
        )
        conditions.carriers.to_jsonl(opened.path("carriers.jsonl"))
        vectors.save(opened.path("vectors.safetensors"))
        found = _find(opened, config, pair, sae, conditions, vectors, activations)
        results = _write(opened, found, settings)
        page.print_found(found, console or _console())
        return Result(found, results, opened.folder)


def _console() -> Console:
    """Standard output; as wide as the tables need where it is no terminal."""
    return Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)


def _named(
    config: Config,
    model: HookedModel | None,
    clean: HookedModel | None,
    prompts: PromptSet | None,
) -> Config:
    """The configuration with what was handed in marked as such, so that it says what was run."""
    changes: dict[str, object] = {}
    if model is not None:
        changes["suspect"] = handed_in(identify(model).id)
    if clean is not None:
        changes["clean"] = handed_in(identify(clean).id)
    if prompts is not None:
        changes["carriers"] = handed_in(prompts.hash)
    if model is not None and (clean is not None or config.clean is None):
        changes["dtype"] = identify(model).dtype
    return config.model_copy(update=changes)


def _load_pair(config: Config, model: HookedModel | None, clean: HookedModel | None) -> steps.Pair:
    """The configuration's models, unless they were handed in."""
    if model is None:
        model = _load("suspect", str(config.suspect), config.dtype)
    if clean is None and config.clean is not None:
        clean = _load("clean", config.clean, config.dtype)
    return steps.Pair(model, clean)


def _load(field: str, name: str, dtype: str) -> HookedModel:
    require_named(field, name, f"Name a model (--{field}), or hand it in again.")
    model: HookedModel = load_model(name, dtype=dtype)
    return model


def _find(
    opened: Run,
    config: Config,
    pair: steps.Pair,
    sae: SparseFeatures | None,
    conditions: Conditions,
    vectors: VectorSet,
    activations: Mapping[str, ContrastActivations],
) -> Found:
    behaviour, usable = _behaviour(opened, config, pair, conditions)
    readings = conditions.readings(usable)
    projections = tuple(
        None if model is None else steps.project_places(opened, name, model, conditions, vectors)
        for name, model in (("suspect", pair.suspect), ("clean", pair.clean))
    )
    assert isinstance(projections[0], Projections)
    nulls = null_directions(
        pair, conditions, readings, activations, config, also=() if sae is None else (sae.site,)
    )
    traits, scores = steps.read_traits(
        conditions,
        readings,
        (projections[0], projections[1]),
        {trait: nulls.of_trait(trait) for trait in activations},
        config,
    )
    layers = [site.layer for site in vectors.sites]
    opened.write_json(
        "detection_auc.json", detection_auc(scores, readings, layers, config.controls)
    )
    sae_reading = None
    if sae is not None:
        draws = Draws(config.n_boot, config.n_permutations, config.seed)
        random = nulls.at(sae.site)
        sae_reading = read_features(
            pair.suspect, pair.clean, sae, conditions, readings, random, draws
        )
    shortcuts = _shortcuts(pair, conditions, readings, [*traits.values(), sae_reading])
    setting = _setting(config, pair, conditions, behaviour)
    said = claims(
        traits,
        sae_reading,
        shortcuts,
        setting,
        sae_asked=sae is not None,
        unreadable=steps.why_unreadable(usable),
    )
    return Found(
        suspect=setting.suspect,
        clean=setting.clean,
        trigger=config.trigger,
        behaviour=behaviour,
        readings=readings,
        tokens=_token_labels(pair.suspect, conditions, len(readings)),
        traits=traits,
        sae=sae_reading,
        sae_name=config.sae,
        vectors=[_vector_row(vectors, index) for index in range(len(vectors))],
        claims=tuple(said),
        shortcuts={name: audited.to_json() for name, audited in shortcuts.items()},
    )


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


def _write(opened: Run, found: Found, settings: Mapping[str, object]) -> dict[str, object]:
    results = results_json(found)
    opened.write_json("results.json", results)
    opened.write_json("claims.json", claims_json(found.claims))
    drawn = page.make_figures(found)
    chrome = find_chrome()
    save_figures(drawn, opened.path("figures/index").parent, chrome)
    if chrome is None:
        print("No Chrome or Chromium found: figures as HTML only.", file=sys.stderr)
    details = {**settings, "folder": str(opened.folder)}
    write_page(opened.path("report.html"), page.make_page(found, drawn, details))
    opened.finish()
    return results
