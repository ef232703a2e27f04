"""Wires the steps: models in, a `Result` and the run's files out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from trait_probe.basis import ModelIdentity
from trait_probe.evidence.studies.shift import Models
from trait_probe.experiments._emergent import effects, page, study
from trait_probe.experiments._emergent.behaviour import check_judges, judge_replies
from trait_probe.experiments._emergent.config import NAME, Config
from trait_probe.experiments._emergent.directions import Directions, contrast_texts, directions
from trait_probe.experiments._emergent.models import BASE, VARIANT, HandedIn, Pool
from trait_probe.experiments._emergent.readings import make_banks, read_all
from trait_probe.experiments._emergent.results import Found, comparison_json, results_json
from trait_probe.experiments._emergent.texts import (
    Texts,
    check_prompts,
    load_prompts,
    make_texts,
    rendered,
)
from trait_probe.experiments._handed_in import handed_in
from trait_probe.experiments._run import Result, console_or_stdout, write_run
from trait_probe.hooks.sites import parse_layers
from trait_probe.identity import HookedModel, identify
from trait_probe.judges.judge import Judge
from trait_probe.prompts.prompt import PromptSet
from trait_probe.runs.openings import record_openings
from trait_probe.runs.rundir import Run, open_run
from trait_probe.vectors.fit import method
from trait_probe.vectors.trait_vector import TraitVector


def run(
    config: Config,
    out: Path | None,
    *,
    given: HandedIn,
    prompts: PromptSet | None,
    judges: Mapping[str, Judge],
    console: Console | None,
) -> Result[Found]:
    """See `trait_probe.experiments.emergent_misalignment.run`."""
    config = given.named(config)
    if prompts is not None:
        config = config.model_copy(update={"prompts": handed_in(prompts.hash)})
    config = config.resolved()
    settings = config.model_dump(mode="json")
    with open_run(out, experiment=NAME, config=settings) as opened:
        pool = Pool(config, given.by_role())
        found = find(opened, config, pool, prompts, judges)
        results = results_json(found)
        opened.write_json("variant_comparison.json", comparison_json(found))
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


def find(
    opened: Run,
    config: Config,
    pool: Pool,
    prompts: PromptSet | None,
    judges: Mapping[str, Judge],
) -> Found:
    """Everything, from directions to claims; stages are resumable."""
    asked, read = _prepare(config, pool.get(BASE), prompts, judges)
    identities = _check_models(pool, read)
    _record(opened, config, asked, read, identities)
    texts = make_texts(opened, config, pool, asked)
    scores = read_all(opened, pool, texts, make_banks(config, pool, read, texts))
    behaviour = judge_replies(config, pool.get(BASE), texts, read.claimed, judges)
    design = study.Design(
        config=config,
        claimed=read.claimed,
        unrelated=study.distinct_unrelated(scores, read.claimed),
        groups=study.groups_of(texts),
        split=study.deal(texts, config.seed),
        fitted_on=read.fitted_on,
        unknown=read.unknown,
        names=_names(pool, identities),
        variant=identities[VARIANT],
    )
    made = study.make_claims(design, texts, scores, behaviour)
    return Found(
        design=design,
        texts=texts,
        behaviour=behaviour,
        claims=made.claims,
        unchanged=made.unchanged,
        profiles=effects.profiles(design, scores),
        effects=effects.trait_effects(design, scores),
        grids=effects.two_by_two(design, scores),
        vectors=[_vector_row(vector) for vectors in read.vectors.values() for vector in vectors],
        transfer=read.transfer,
        notes=(*read.notes, *_notes(texts, config), *_left_out(read, design.unrelated)),
        opened=tuple(record_openings(opened, lock) for lock in made.locks if lock.openings),
    )


def _prepare(
    config: Config, base: HookedModel, prompts: PromptSet | None, judges: Mapping[str, Judge]
) -> tuple[PromptSet, Directions]:
    """Prompts and directions; bad input ends here, before anything is written."""
    parse_layers(config.layers, base)
    method(config.method)
    unseen = contrast_texts(config, base)
    asked = load_prompts(config, base, unseen) if prompts is None else prompts
    check_prompts(asked, unseen)
    rendered(config, base, asked)
    read = directions(config, base, asked)
    check_judges(judges, read.claimed)
    return asked, read


def _check_models(pool: Pool, read: Directions) -> dict[str, ModelIdentity]:
    """Every model must take the vectors; returns the identities by role."""
    identities: dict[str, ModelIdentity] = {}
    for role in pool.roles:
        identities[role] = _checked(pool.get(role), read)  # no name that would keep it in memory
    return identities


def _checked(model: HookedModel, read: Directions) -> ModelIdentity:
    for vectors in read.vectors.values():
        vectors.check(model, lineage_ok=True)  # stated to be fine-tunes of one base
    return identify(model)


def _record(
    opened: Run,
    config: Config,
    prompts: PromptSet,
    read: Directions,
    identities: Mapping[str, ModelIdentity],
) -> None:
    opened.record(
        models={role: found.to_dict() for role, found in identities.items()},
        prompts=prompts.hash,
        vectors={rule: vectors.sha256 for rule, vectors in read.vectors.items()},
        seed=config.seed,
    )
    prompts.to_jsonl(opened.path("prompts.jsonl"))
    for rule, vectors in read.vectors.items():
        name = "prompt" if rule.startswith("prompt") else "reply"
        vectors.save(opened.path(f"vectors/{name}.safetensors"))


def _names(pool: Pool, identities: Mapping[str, ModelIdentity]) -> Models:
    def name(role: str) -> str:
        found = identities[role]
        return found.id + (f" + {found.adapter}" if found.adapter else "")

    controls = ", ".join(name(role) for role in pool.controls)
    return Models(name(VARIANT), name(BASE), controls or None)


def _notes(texts: Texts, config: Config) -> tuple[str, ...]:
    if not texts.dropped:
        return ()
    return (f"{len(texts.dropped)} prompts were left out since a model's reply to them was empty.",)


def _left_out(read: Directions, unrelated: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Unrelated traits that do not count, since they are copies of others."""
    notes = []
    for rule, kept in unrelated.items():
        lost = [t for t in read.vectors[rule].traits if t not in (*kept, *read.claimed)]
        if lost:
            notes.append(
                f"Read at {rule}, {', '.join(lost)} lies so close to another trait here that it "
                "does not count as an unrelated one."
            )
    return tuple(notes)


def _vector_row(vector: TraitVector) -> dict[str, str | int | float]:
    return {
        "trait": vector.trait,
        "site": str(vector.site),
        "method": vector.basis.method,
        "position": vector.basis.position,
        "norm": vector.norm,
        **{name: _finite(value) for name, value in vars(vector.reliability).items()},
    }


def _finite(value: float | int) -> float | int | str:
    return value if np.isfinite(value) else "none"
