"""The experiment's steps on plain data, in the order of its method section."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool

from trait_probe.basis import Site
from trait_probe.evidence.shortcuts import ShortcutAudit, audit_shortcuts
from trait_probe.evidence.triggers.design import Reading
from trait_probe.experiments import _fitting
from trait_probe.experiments._backdoor.conditions import Conditions, answers_by_condition
from trait_probe.experiments._backdoor.config import Config
from trait_probe.experiments._backdoor.overlap import require_unseen
from trait_probe.experiments._handed_in import require_named
from trait_probe.forward.engine import read
from trait_probe.forward.generate import decode, generate_ids
from trait_probe.forward.project import project
from trait_probe.forward.projections import Projections
from trait_probe.forward.rendering import has_chat_template
from trait_probe.hooks.capture import raw
from trait_probe.identity import HookedModel, identify, tokenizer_of
from trait_probe.organisms.carriers import carrier_prompts
from trait_probe.prompts.prompt import Prompt, PromptSet
from trait_probe.runs.rundir import Run
from trait_probe.vectors.extract import ContrastActivations
from trait_probe.vectors.vector import VectorSet

EMBEDDING = Site(0, "resid_pre")
Answers = tuple[tuple[tuple[int, ...], ...], ...]
"""Token ids `[condition][carrier]`."""
Texts = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Pair:
    """The model under audit and its control, None where there is none."""

    suspect: HookedModel
    clean: HookedModel | None

    @property
    def reference(self) -> HookedModel:
        """Where vectors are fitted and units measured: the clean model if there is one."""
        return self.suspect if self.clean is None else self.clean

    @property
    def same(self) -> bool:
        """Whether both have the same weights, whatever their names."""
        if self.clean is None:
            return False
        suspect, clean = identify(self.suspect), identify(self.clean)
        return suspect.weights_hash == clean.weights_hash


def load_carriers(config: Config, model: HookedModel) -> PromptSet:
    """The carriers of a file, or arithmetic in the form the model takes (chat or text)."""
    if config.carriers is not None:
        hint = "Give --carriers FILE; the run that used them keeps them in its carriers.jsonl."
        require_named("carriers", config.carriers, hint)
        path = Path(config.carriers)
        parquet = path.suffix == ".parquet"
        return PromptSet.from_parquet(path) if parquet else PromptSet.from_jsonl(path)
    return carrier_prompts(config.n_carriers, config.seed, chat=has_chat_template(model))


def answer(
    run: Run, name: str, model: HookedModel, conditions: Conditions, *, max_new_tokens: int
) -> tuple[Answers, Texts]:
    """Greedy answers of one model, as token ids and as text; a resumable stage."""

    def compute() -> pa.Table:
        prompts = conditions.all_rendered
        ids = generate_ids(
            model, prompts, max_new_tokens=max_new_tokens, label=f"{name}: answering"
        )
        return pa.table(
            {
                "prompt_id": [item.prompt_id for item in prompts],
                "answer": decode(model, ids),
                "token_ids": pa.array([list(item) for item in ids], pa.list_(pa.int32())),
            }
        )

    table = run.stage(f"behaviour/{name}", compute)
    n = len(conditions.names)
    ids = [tuple(item) for item in table["token_ids"].to_pylist()]
    flat = table["answer"].to_pylist()
    width = len(flat) // n
    texts = tuple(tuple(flat[i * width : (i + 1) * width]) for i in range(n))
    return answers_by_condition(ids, n), texts


def fit_traits(
    model: HookedModel,
    traits: Sequence[str],
    *,
    layers: str = "all",
    method: str = "mean_difference",
    seed: int = 0,
    carriers: Sequence[Prompt] = (),
) -> tuple[VectorSet, dict[str, ContrastActivations]]:
    """Vectors of every trait and layer, and the contrast activations they were fitted on.

    Args:
        carriers: prompts that the vectors will be tested on, without their prefix.

    Raises:
        BadInputError: a carrier is also a text that a vector would be fitted on, or two traits
            have one name.
    """
    for contrast in _fitting.contrasts(model, traits).values():
        require_unseen(contrast, carriers)
    return _fitting.fit_traits(model, traits, layers=layers, method=method, seed=seed)


def project_places(
    run: Run, name: str, model: HookedModel, conditions: Conditions, vectors: VectorSet
) -> Projections:
    """Every trait and layer at every place, in one pass; a resumable stage."""
    table = run.stage(
        f"projections/{name}",
        lambda: project(
            model,
            conditions.all_rendered,
            vectors,
            position=conditions.rule,
            lineage_ok=True,  # the suspect is stated to be a fine-tune of the clean model's base
            label=f"{name}: projecting",
        ).to_table(),
    )
    names = [item.prompt_id for item in conditions.all_rendered]
    return Projections.from_table(table, prompt_ids=names)


def audit(
    model: HookedModel,
    conditions: Conditions,
    readings: Sequence[Reading],
    place: int,
    answers: Texts,
) -> ShortcutAudit:
    """Shortcuts that tell trigger from control prompts, on the report carriers of one place.

    Args:
        answers: the model's own, `[condition][carrier]`; a reader of answers alone is one of the
            shortcuts.
    """
    reading = readings[place]
    prompts = conditions.some(reading.report)
    rows = read(
        model,
        prompts,
        {EMBEDDING: raw},
        position=conditions.rule_at(reading.place),
        label="shortcuts",
    )
    return audit_shortcuts(
        [tokenizer_of(model).decode(list(item.token_ids)) for item in prompts],
        np.array([len(item.token_ids) for item in prompts]),
        np.array([item.token_ids[item.spans["trigger"][0]] for item in prompts]),
        np.repeat(np.arange(len(conditions.names)) == 0, len(reading.report)),
        list(reading.clusters) * len(conditions.names),
        embedding=rows.values[EMBEDDING].astype(np.float64),
        outputs=[given[carrier] for given in answers for carrier in reading.report],
    )


def why_unreadable(usable: Bool[np.ndarray, " carrier"]) -> str:
    """What to say where no place can be read."""
    return (
        f"no token after the trigger can be read: {int(usable.sum())} of {len(usable)} carriers "
        "have identical answers, or too few different texts lead up to any token"
    )


def share_same(first: Answers, second: Answers) -> float:
    """Share of prompts that two models answer with the same tokens, in [0, 1]."""
    pairs = [a == b for x, y in zip(first, second, strict=True) for a, b in zip(x, y, strict=True)]
    return float(np.mean(pairs))
