"""Wires the steps: models in, a `Result` and the run's files out."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from rich.console import Console

from trait_probe.experiments._backdoor import page, steps
from trait_probe.experiments._backdoor.conditions import lay_out
from trait_probe.experiments._backdoor.config import NAME, Config
from trait_probe.experiments._backdoor.results import Found, results_json
from trait_probe.experiments._backdoor.study import Study, find
from trait_probe.experiments._handed_in import handed_in
from trait_probe.experiments._run import Result, console_or_stdout, load_named, write_run
from trait_probe.hooks.sae import load_sae
from trait_probe.hooks.sites import parse_layers
from trait_probe.identity import HookedModel, identify, weights_hash
from trait_probe.prompts.prompt import PromptSet
from trait_probe.runs.rundir import Run, open_run


def run(
    config: Config,
    out: Path | None,
    *,
    model: HookedModel | None,
    clean: HookedModel | None,
    prompts: PromptSet | None,
    console: Console | None,
) -> Result[Found]:
    """See `trait_probe.experiments.backdoor.run`."""
    config = _named(config, model, clean, prompts).resolved()
    settings = config.model_dump(mode="json")
    with open_run(out, experiment=NAME, config=settings) as opened:
        study = _prepare(config, _load_pair(config, model, clean), prompts)
        _record(opened, study)
        found = find(opened, study)
        results = results_json(found)
        write_run(
            opened,
            results=results,
            claims=found.claims,
            figures=page.make_figures(found),
            make_page=partial(page.make_page, found),
            settings=settings,
        )
        page.print_found(found, console_or_stdout(console))
        return Result(found, results, opened.folder)


def _prepare(config: Config, pair: steps.Pair, prompts: PromptSet | None) -> Study:
    """Carriers laid out, vectors fitted."""
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
        carriers=conditions.carriers,
    )
    vectors.check(pair.suspect, lineage_ok=True)
    return Study(config, pair, sae, conditions, vectors, activations)


def _record(opened: Run, study: Study) -> None:
    """What the run rests on: identities and hashes, the carriers, the vectors."""
    pair, sae, carriers = study.pair, study.sae, study.conditions.carriers
    opened.record(
        suspect=identify(pair.suspect).to_dict(),
        clean=None if pair.clean is None else identify(pair.clean).to_dict(),
        carriers=carriers.hash,
        contrasts={name: found.contrast_hash for name, found in study.activations.items()},
        sae=None if sae is None else weights_hash(sae.sae.named_parameters()),
        seed=study.config.seed,
    )
    carriers.to_jsonl(opened.path("carriers.jsonl"))
    study.vectors.save(opened.path("vectors.safetensors"))


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
        model = load_named("suspect", str(config.suspect), config.dtype)
    if clean is None and config.clean is not None:
        clean = load_named("clean", config.clean, config.dtype)
    return steps.Pair(model, clean)
