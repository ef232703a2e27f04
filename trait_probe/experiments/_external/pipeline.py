"""Wires the steps: a model and a data set in, a `Result` and the run's files out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from rich.console import Console

from trait_probe.errors import BadInputError
from trait_probe.evidence.splits import Split, split_by_group
from trait_probe.experiments._external import page, terminal
from trait_probe.experiments._external.config import NAME, Config
from trait_probe.experiments._external.data import load_benign, load_data
from trait_probe.experiments._external.design import Design
from trait_probe.experiments._external.directions import (
    RULES,
    Directions,
    fit_directions,
    plan_directions,
    without_answers,
)
from trait_probe.experiments._external.find import Found, find
from trait_probe.experiments._external.levels import (
    PROMPT,
    RESPONSE,
    Level,
    chosen,
    rest_of,
    take_levels,
)
from trait_probe.experiments._external.reading import (
    require_same_facts,
    require_sample_of,
    take_sample_shards,
)
from trait_probe.experiments._external.results import data_json, failures_json, results_json
from trait_probe.experiments._external.rows import scan
from trait_probe.experiments._external.sample import draw_sample
from trait_probe.experiments._handed_in import handed_in
from trait_probe.experiments._run import Result, console_or_stdout, load_named, write_run
from trait_probe.forward.pipeline import Preflight
from trait_probe.identity import HookedModel, identify
from trait_probe.prompts.prompt import Prompt, PromptSet
from trait_probe.report.page import write_page
from trait_probe.runs.rundir import Run, open_run
from trait_probe.vectors.vector import VectorSet

SELECTION = 1 / 3
"""Of the groups choose a layer for each trait and a threshold; the others report."""


def run(
    config: Config,
    out: Path | None,
    *,
    model: HookedModel | None,
    prompts: PromptSet | None,
    console: Console | None,
) -> Result[Found]:
    """See `trait_probe.experiments.external_datasets.run`."""
    config = _named(config, model, prompts).resolved()
    settings = config.stored()
    with open_run(out, experiment=NAME, config=settings) as opened:
        if config.sample_run is not None:
            require_sample_of(Path(config.sample_run), settings)
        if model is None:
            model = load_named("model", str(config.model), config.dtype)
        design = prepare(config, model, prompts)
        if config.sample_run is not None:
            require_same_facts(Path(config.sample_run), _facts(design))
        _record(opened, design)
        if config.sample_run is not None:
            take_sample_shards(Path(config.sample_run), opened.folder)
        found = find(opened, design)
        results = results_json(found)
        opened.write_json("beavertails_results.json", data_json(found))
        opened.write_json("failure_cases.json", failures_json(found))
        write_page(opened.path("failure_cases.html"), page.make_failures_page(found))
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
    """The data set read once, vectors fitted, the sample drawn and looked at; nothing is written.

    Raises:
        BadInputError: bad input of any kind.
    """
    planned = plan_directions(model, config, (RESPONSE, PROMPT))
    benign = load_benign(config, model)
    data = load_data(config, model, prompts)
    rows = scan(
        data.source,
        [text for one in planned.values() for text in one.texts],
        [text for one in planned.values() for text in one.answers],
    )
    sampled = draw_sample(rows, config.per_category, config.seed)
    if not len(sampled):
        raise BadInputError(
            "Nothing is left to test on.",
            got=f"{len(rows.harmful)} rows, all of groups that a vector is fitted on",
            fix="Give other traits, or another data set.",
        )
    taken = take_levels(data.source, rows, sampled)
    left_out = {name: _no_vectors(model, config) for name in taken if name not in planned}
    splits: dict[str, Split] = {}
    for name, level in taken.items():
        if name not in left_out:
            _try_split(level, config.seed, splits, left_out, alone=len(taken) == 1)
    levels = {name: level for name, level in taken.items() if name in splits}
    if not levels:
        raise BadInputError(
            "No level can be read.",
            got=left_out,
            fix=f"Give more rows of both labels; extract vectors at {RULES[RESPONSE]} for answers "
            f"and at {RULES[PROMPT]} for prompts.",
        )
    directions = fit_directions(model, config, {name: planned[name] for name in levels})
    design = Design(
        config=config,
        model=model,
        about=data.about(),
        source=data.source,
        rows=rows,
        sampled=sampled,
        levels=levels,
        left_out=left_out,
        directions=directions,
        benign=benign,
        splits=splits,
    )
    _require_readable(design)
    return design


def _no_vectors(model: HookedModel, config: Config) -> str:
    """Why a level has none."""
    if config.vectors is not None:
        return "the file of vectors has none for it"
    lacking = ", ".join(without_answers(model, config))
    return f"{lacking} has neither completions nor instructions to fit vectors of answers on"


def _try_split(
    level: Level, seed: int, splits: dict[str, Split], left_out: dict[str, str], *, alone: bool
) -> None:
    """Some of the groups for choosing, the others for reporting; both need both labels.

    Where answers are told apart and prompts are not (all have an unsafe answer), answers are read.
    """
    lacking = _why_not_split(level, seed, splits)
    if lacking is None:
        return
    if alone or level.name == RESPONSE:
        raise BadInputError(
            "The sample is too small to be split by prompt: both sides need harmful and harmless "
            "rows.",
            got=lacking,
            fix="Raise --per-category, give more prompts, or try another --seed.",
        )
    left_out[level.name] = lacking


def _why_not_split(level: Level, seed: int, splits: dict[str, Split]) -> str | None:
    n = len(set(level.groups))
    if n < 2:
        return "one group"
    split = split_by_group(level.groups, fraction=SELECTION, seed=seed)
    for side in (split.selection, split.report):
        labels = level.harmful[side]
        if labels.all() or not labels.any():
            return (
                f"one side of the {n} groups has {int(labels.sum())} harmful rows of {len(labels)}"
            )
    splits[level.name] = split
    return None


def _require_readable(design: Design) -> None:
    """Refuse prompts that the model or a rule cannot take, before anything is written."""
    config = design.config
    for name, level in design.levels.items():
        _check(design, design.directions[name].rule, level.prompts)
    for prompts in design.benign.values():
        _check(design, RULES[PROMPT], prompts)
    if config.full:
        rest = chosen(design.source, rest_of(design.rows, design.sampled))
        _check(design, design.directions[design.main.name].rule, rest)


def _check(design: Design, rule: str, prompts: Iterable[Prompt]) -> None:
    check = Preflight(design.model, (rule,), design.config.truncate)
    for prompt in prompts:
        check(prompt)


def _record(opened: Run, design: Design) -> None:
    """What the run rests on: identities and hashes, the vectors."""
    opened.record(**_facts(design))
    opened.start()
    for name, found in design.directions.items():
        VectorSet(found.vectors).save(opened.path(f"vectors-{name}.safetensors"))


def _facts(design: Design) -> dict[str, object]:
    return {
        "model": identify(design.model).to_dict(),
        "data": dict(design.about),
        "rows": design.rows.sha256,
        "sampled": len(design.sampled),
        "vectors": {name: _contrast_hashes(found) for name, found in design.directions.items()},
        "seed": design.config.seed,
    }


def _contrast_hashes(found: Directions) -> Mapping[str, str]:
    return {vector.trait: vector.basis.contrast_hash for vector in found.vectors}


def _named(config: Config, model: HookedModel | None, prompts: PromptSet | None) -> Config:
    """The configuration with what was handed in marked as such, so that it says what was run."""
    changes: dict[str, object] = {}
    if model is not None:
        identity = identify(model)
        changes |= {"model": handed_in(identity.id), "dtype": identity.dtype}
    if prompts is not None:
        changes |= {"dataset": handed_in(prompts.hash), "subset": None, "split": None}
        changes |= {"revision": None, "safe": None}
    return config.model_copy(update=changes)
