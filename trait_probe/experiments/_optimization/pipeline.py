"""Wires the steps: a model in, a `Result` and the run's files out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich.console import Console

from trait_probe.errors import BadInputError
from trait_probe.evidence.splits import require_disjoint, text_id
from trait_probe.experiments._fitting import named_in
from trait_probe.experiments._handed_in import handed_in
from trait_probe.experiments._optimization import page, terminal
from trait_probe.experiments._optimization.config import NAME, Config
from trait_probe.experiments._optimization.find import Found, find_trait
from trait_probe.experiments._optimization.judging import (
    Judges,
    MakeJudges,
    judges_for,
    say_cost_before,
)
from trait_probe.experiments._optimization.questions import Questions, questions_of, traits_of
from trait_probe.experiments._optimization.results import gap_json, results_json
from trait_probe.experiments._optimization.setting import Panels, make_panels, set_up
from trait_probe.experiments._optimization.written import best_seed, optimized_vectors
from trait_probe.experiments._run import Result, console_or_stdout, load_named, write_run
from trait_probe.hooks.sites import parse_layers
from trait_probe.identity import HookedModel, identify
from trait_probe.judges.instrument import Gold, load_gold
from trait_probe.runs.rundir import Run, open_run
from trait_probe.vectors.contrast_sets import contrast_set
from trait_probe.vectors.extract import extract
from trait_probe.vectors.trait_vector import TraitVector
from trait_probe.vectors.vector import VectorSet


@dataclass(frozen=True)
class Design:
    """What is fixed before anything is steered, per trait in order."""

    model: HookedModel
    questions: tuple[Questions, ...]
    judges: tuple[Judges, ...]
    panels: tuple[Panels, ...]
    gold: tuple[tuple[Gold, ...], ...]
    vectors: VectorSet


def run(
    config: Config,
    out: Path | None,
    *,
    model: HookedModel | None,
    judges: MakeJudges | None,
    console: Console | None,
) -> Result[Found]:
    """See `trait_probe.experiments.vector_optimization.run`."""
    config = _named(config, model, judges).resolved()
    settings = config.stored()
    with open_run(out, experiment=NAME, config=settings) as opened:
        if model is None:
            model = load_named("model", config.model, config.dtype)
        design = prepare(config, model, judges)
        _require_same_judges(opened, design)
        say_cost_before(config, design.questions, design.judges, len(design.vectors.sites))
        _record(opened, config, design)
        design = keeping_scores(opened, config, design)
        try:
            found = find(opened, config, design)
        finally:
            _count_calls(opened, design)
        save_vectors(opened, design.model, found)
        results = results_json(found)
        opened.write_json("extraction_gap.json", gap_json(found))
        write_run(
            opened,
            results=results,
            claims=found.claims,
            figures=page.make_figures(found),
            make_page=partial(page.make_page, found, seconds(opened)),
            settings=settings,
        )
        terminal.print_found(found, seconds(opened), console_or_stdout(console))
        return Result(found, results, opened.folder)


def prepare(config: Config, model: HookedModel, judges: MakeJudges | None) -> Design:
    """Questions split, judges made, vectors extracted; nothing is written.

    Raises:
        BadInputError: bad input of any kind.
    """
    parse_layers(config.layers, model)
    traits = traits_of(config, model)
    _require_width(config, model)
    files = config.questions or [None] * len(traits)
    questions = tuple(
        questions_of(config, model, trait, file) for trait, file in zip(traits, files, strict=True)
    )
    made = judges or partial(judges_for, config)
    scoring = tuple(made(one) for one in questions)
    vectors = _vectors(config, model, questions)
    gold = tuple(map(load_gold, config.gold)) or ((),) * len(traits)
    panels = tuple(
        make_panels(model, one, both, config.longest)
        for one, both in zip(questions, scoring, strict=True)
    )
    return Design(model, questions, scoring, panels, gold, vectors)


def keeping_scores(opened: Run, config: Config, design: Design) -> Design:
    """The design with judges that ask again for nothing; rules are as fast as looking up."""
    path = Path(config.judge_cache) if config.judge_cache else opened.path("judged.sqlite")
    judges = tuple(one.kept_in(path) if one.cost_time() else one for one in design.judges)
    panels = tuple(own.judged_by(both) for own, both in zip(design.panels, judges, strict=True))
    return replace(design, judges=judges, panels=panels)


def _require_same_judges(opened: Run, design: Design) -> None:
    """A run that goes on must be judged as it began, which only an identity can tell."""
    unknown = [name for one in design.judges for name in one.unknown()]
    if opened.resumed and opened.manifest.stages and unknown:
        raise BadInputError(
            "A run with judges that have no identity cannot be resumed: they may be others now.",
            got=sorted(set(unknown)),
            fix="Give your judge an attribute `identity` (a dict of all that a score depends on), "
            "or choose another --out folder.",
        )


def _count_calls(opened: Run, design: Design) -> None:
    """Add what the judges cost in this process to what earlier ones noted in the manifest."""
    before = opened.manifest.timings.get("judges", {})
    opened.measured(
        judges={
            questions.trait.name: judges.spent(before.get(questions.trait.name, {}))
            for questions, judges in zip(design.questions, design.judges, strict=True)
        }
    )


def _require_width(config: Config, model: HookedModel) -> None:
    width = identify(model).d_model
    if config.components > width:
        raise BadInputError(
            "There are no more components than the activations are wide.",
            got=config.components,
            valid=(f"2 to {width}",),
            fix="Lower --components.",
        )


def _vectors(config: Config, model: HookedModel, questions: tuple[Questions, ...]) -> VectorSet:
    """One vector per trait and layer, of a file or extracted from what each trait asks.

    Raises:
        BadInputError: a question to choose or test on that a vector is extracted from.
    """
    if config.vectors is not None:
        return _of_file(config, model, questions)
    found: list[TraitVector] = []
    for one in questions:
        tested = [text_id(p.messages[-1].content) for p in (*one.validation, *one.test)]
        extracted_from = [text_id(text) for text in one.trait.questions]
        require_disjoint(extracted_from, tested, f"Questions of {one.trait.name!r}")
        found += extract(
            model,
            contrast_set(str(one.trait.source), model, source="instructions"),
            layers=config.layers,
            method=config.method,
            position=config.position,
            max_new_tokens=config.longest,
            seed=config.seed,
        )
    return VectorSet(found)


def _of_file(config: Config, model: HookedModel, questions: tuple[Questions, ...]) -> VectorSet:
    vectors = VectorSet.load(str(config.vectors), model=model)
    names = [named_in(one.trait.name, vectors, "--traits") for one in questions]
    layers = set(parse_layers(config.layers, model)) & set(vectors.layers)
    if not layers:
        raise BadInputError(
            "The vector file has no vector at any of the layers.",
            got=config.layers,
            valid=vectors.layers,
            fix="Name layers of the file (--layers).",
        )
    return vectors.select(names, sorted(layers))


def find(opened: Run, config: Config, design: Design) -> Found:
    """Every trait in turn."""
    found = {}
    for questions, panels, gold in zip(design.questions, design.panels, design.gold, strict=True):
        name = questions.trait.name
        own = design.vectors.select(traits=name)
        setting = set_up(opened, config, questions, panels, own)
        found[name] = find_trait(opened, config, setting, gold, looks=len(design.questions))
    return Found(config, identify(design.model).id, found)


def save_vectors(opened: Run, model: HookedModel, found: Found) -> None:
    """`vectors/optimized/<trait>/layer<L>.safetensors`: of the seed that validation liked best;
    beside it each seed's own, and the extracted vector that the search began with."""
    for name, one in found.traits.items():
        layer = one.setting.vector.layer
        folder = f"vectors/optimized/{name}"
        seeds = optimized_vectors(found.config, model, one)
        for seed, vector in seeds.items():
            VectorSet([vector]).save(opened.path(f"{folder}/layer{layer}-seed{seed}.safetensors"))
        best = best_seed(found.config, one, seeds)
        if best is not None:
            VectorSet([seeds[best]]).save(opened.path(f"{folder}/layer{layer}.safetensors"))
        start = opened.path(f"vectors/extracted/{name}/layer{layer}.safetensors")
        VectorSet([one.setting.vector]).save(start)


def seconds(opened: Run) -> dict[str, float]:
    """Wall-clock seconds of the finished stages, by name."""
    return {name: stage.seconds for name, stage in opened.manifest.stages.items()}


def _record(opened: Run, config: Config, design: Design) -> None:
    """What the run rests on: identities and hashes, every question with its split."""
    opened.record(
        model=identify(design.model).to_dict(),
        vectors=design.vectors.sha256,
        questions={one.trait.name: one.hashes() for one in design.questions},
        judges={
            one.trait.name: judges.identities()
            for one, judges in zip(design.questions, design.judges, strict=True)
        },
        seed=config.seed,
    )
    for one in design.questions:
        one.prompts().to_jsonl(opened.path(f"questions/{one.trait.name}.jsonl"))


def _named(config: Config, model: HookedModel | None, judges: MakeJudges | None) -> Config:
    """The configuration with what was handed in marked as such, so that it says what was run."""
    changes: dict[str, object] = {}
    if model is not None:
        identity = identify(model)
        changes |= {"model": handed_in(identity.id), "dtype": identity.dtype}
    if judges is not None:
        changes |= {"judge": handed_in(getattr(judges, "__name__", type(judges).__name__))}
    return config.model_copy(update=changes)
