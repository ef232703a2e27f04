"""Wires the steps: a model in, a `Result` and the run's files out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from trait_probe.errors import BadInputError
from trait_probe.evidence.splits import split_by_group, text_id
from trait_probe.experiments._fitting import contrasts, fit_traits, fitted_texts
from trait_probe.experiments._handed_in import handed_in
from trait_probe.experiments._prefill import page, terminal
from trait_probe.experiments._prefill.behaviour import behaviour_of
from trait_probe.experiments._prefill.cells import (
    Cells,
    assistant_header,
    plain_cells,
    prefilled_cells,
    target_cells,
)
from trait_probe.experiments._prefill.config import NAME, TARGETS, Config
from trait_probe.experiments._prefill.design import Design
from trait_probe.experiments._prefill.find import Found, find
from trait_probe.experiments._prefill.pairs import Pairs, load_pairs
from trait_probe.experiments._prefill.reading import TOPIC
from trait_probe.experiments._prefill.results import comparison_json, results_json
from trait_probe.experiments._run import Result, console_or_stdout, load_named, write_run
from trait_probe.hooks.sites import parse_layers
from trait_probe.identity import HookedModel, identify
from trait_probe.judges.judge import Judge
from trait_probe.prompts.contrast import ContrastSet
from trait_probe.prompts.prompt import PromptSet
from trait_probe.runs.rundir import Run, open_run


def run(
    config: Config,
    out: Path | None,
    *,
    model: HookedModel | None,
    prompts: PromptSet | None,
    judge: Judge | None,
    console: Console | None,
) -> Result[Found]:
    """See `trait_probe.experiments.prefill_attack.run`."""
    config = _named(config, model, prompts).resolved()
    settings = config.model_dump(mode="json")
    with open_run(out, experiment=NAME, config=settings) as opened:
        if model is None:
            model = load_named("model", str(config.model), config.dtype)
        design = prepare(config, model, prompts)
        _record(opened, design, judge)
        found = find(opened, design, behaviour_of(design.pairs, judge))
        results = results_json(found)
        opened.write_json("condition_comparison.json", comparison_json(found))
        write_run(
            opened,
            results=results,
            claims=found.claims,
            figures=page.make_figures(found),
            make_page=partial(page.make_page, found),
            settings=settings,
        )
        terminal.print_found(found, console_or_stdout(console))
        return Result(found, results, opened.folder)


def prepare(config: Config, model: HookedModel, prompts: PromptSet | None) -> Design:
    """Pairs loaded, cells laid out, vectors fitted; nothing is written.

    Raises:
        BadInputError: bad input of any kind.
    """
    parse_layers(config.layers, model)
    wanted = contrasts(model, (*config.traits, *config.foils))
    if TOPIC in {found.trait for found in wanted.values()}:
        raise BadInputError(
            f"The name {TOPIC!r} stands for the direction of topics.",
            got=sorted(wanted),
            fix="Rename 'trait:' in your own file.",
        )
    fitted = fitted_texts(wanted.values())
    pairs = load_pairs(config, model, prompts, fitted)
    plain = plain_cells(model, pairs, config.max_new_tokens)
    header = assistant_header(model, pairs)
    main, others = _prefilled(config, model, pairs, config.max_new_tokens + len(header.ids))
    vectors, activations = fit_traits(
        model,
        (*config.traits, *config.foils),
        layers=config.layers,
        method=config.method,
        seed=config.seed,
    )
    named = _by_trait(wanted)
    return Design(
        config=config,
        model=model,
        pairs=pairs,
        header=header,
        plain=plain,
        main=main,
        others=others,
        vectors=vectors,
        activations=activations,
        contrasts=named,
        claimed=tuple(wanted[name].trait for name in config.traits),
        foils=tuple(wanted[name].trait for name in config.foils),
        fitted_on=frozenset(map(text_id, fitted)),
        split=split_by_group(pairs.names, seed=config.seed),
    )


def _by_trait(wanted: Mapping[str, ContrastSet]) -> dict[str, ContrastSet]:
    return {found.trait: found for found in wanted.values()}


def _prefilled(
    config: Config, model: HookedModel, pairs: Pairs, reserve: int
) -> tuple[Cells, tuple[Cells, ...]]:
    first, *rest = config.prefills
    shared: Sequence[str] = (*rest, config.refusal_prefill)
    if config.target_prefill:
        main = target_cells(model, pairs, TARGETS, first, reserve)
        shared = (first, *shared)
    else:
        main = prefilled_cells(model, pairs, first, reserve)
    return main, tuple(prefilled_cells(model, pairs, text, reserve) for text in shared)


def _record(opened: Run, design: Design, judge: Judge | None) -> None:
    """What the run rests on: identities and hashes, the pairs, the vectors."""
    opened.record(
        model=identify(design.model).to_dict(),
        pairs=design.pairs.prompts.hash,
        contrasts={name: found.contrast_hash for name, found in design.activations.items()},
        judge=None if judge is None else type(judge).__name__,
        seed=design.config.seed,
    )
    design.pairs.prompts.to_jsonl(opened.path("pairs.jsonl"))
    design.vectors.save(opened.path("vectors.safetensors"))


def _named(config: Config, model: HookedModel | None, prompts: PromptSet | None) -> Config:
    """The configuration with what was handed in marked as such, so that it says what was run."""
    changes: dict[str, object] = {}
    if model is not None:
        identity = identify(model)
        changes |= {"model": handed_in(identity.id), "dtype": identity.dtype}
    if prompts is not None:
        changes |= {"harmful": handed_in(prompts.hash), "benign": None}
    return config.model_copy(update=changes)
