"""The data set and the unrelated benign prompts, by name, from files, or handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from trait_probe.errors import BadInputError
from trait_probe.experiments._external.config import EMBEDDED, Config
from trait_probe.experiments._external.labels import HARMFUL
from trait_probe.experiments._external.rows import Source
from trait_probe.experiments._handed_in import require_named
from trait_probe.forward.generate import generate
from trait_probe.identity import HookedModel, identify
from trait_probe.organisms.answers import labelled_answers, unrelated_answers
from trait_probe.prompts.prompt import PromptSet
from trait_probe.prompts.sources.load import load_labelled, load_prompts
from trait_probe.prompts.sources.open import open_source
from trait_probe.vectors.contrast_sets import language_of

N_UNRELATED = 280
"""Embedded benign answers: 40 of each of the seven families."""
_UNRELATED_SEED = 1000
FAMILY = "family"


@dataclass(frozen=True)
class Data:
    """A labelled data set: its rows as often as they are asked for, and where it is from.

    Attributes:
        source: gives all rows.
        about: provenance; ask once the rows were read: only then are skipped ones counted.
    """

    source: Source
    about: Callable[[], Mapping[str, object]]


def load_data(config: Config, model: HookedModel, prompts: PromptSet | None) -> Data:
    """The configuration's data set.

    Args:
        prompts: used in its place.

    Raises:
        BadInputError: no such source, subset or split; a wrong schema; benign prompts are missing;
            or the embedded set for a model that does not speak the organisms' language.
    """
    if prompts is not None:
        return _in_memory(prompts, "prompts handed in")
    dataset = str(config.dataset)
    if dataset == EMBEDDED:
        return _embedded(config, model)
    hint = "Give --dataset; the run that used the prompts keeps the sample in its prompts/."
    require_named("dataset", dataset, hint)
    if config.safe is not None:
        return _with_safe(config, dataset)
    opened = open_source(
        dataset, config=config.subset, split=config.split, revision=config.revision
    )
    return Data(opened.prompts, opened.provenance)


def _in_memory(prompts: PromptSet, name: str) -> Data:
    return Data(lambda: prompts, lambda: {"source": name, "sha256": prompts.hash})


def _embedded(config: Config, model: HookedModel) -> Data:
    if language_of(model) != "organism":
        raise BadInputError(
            "Only the organisms have an embedded data set, in their own language.",
            got=identify(model).id,
            fix="Give --dataset beavertails (or pku-saferlhf, harmbench, advbench, "
            "jailbreakbench), or a file or folder.",
        )
    given = {
        f"--{name}": value
        for name, value in (("subset", config.subset), ("split", config.split))
        if value is not None
    }
    if given or config.safe is not None:
        raise BadInputError(
            "The embedded data set has no subsets, no splits, and its own safe answers.",
            got=given or config.safe,
            fix="Leave them out, or give --dataset.",
        )
    return _in_memory(labelled_answers(), EMBEDDED)


def _with_safe(config: Config, dataset: str) -> Data:
    """Harmful prompts of one source, benign ones of another; matched where the source matches."""
    chosen = {"config": config.subset, "split": config.split, "revision": config.revision}
    named = any(value is not None for value in chosen.values())
    harmful = load_prompts(dataset, **chosen) if named else dataset
    found = load_labelled(harmful, str(config.safe))
    about = {"source": dataset, "safe": config.safe, **chosen, "sha256": found.hash}
    return Data(lambda: found, lambda: about)


def load_benign(config: Config, model: HookedModel) -> dict[str, PromptSet]:
    """Unrelated benign prompts by the name of their set; some with answers, some without.

    Raises:
        BadInputError: no such source, or one whose prompts are all labelled harmful.
    """
    if config.benign:
        return {name: _harmless(name) for name in config.benign}
    if language_of(model) != "organism":
        return {}
    every = unrelated_answers(N_UNRELATED, config.seed + _UNRELATED_SEED)
    families = dict.fromkeys(str(prompt.labels[FAMILY]) for prompt in every)
    return {name: _of_family(every, name) for name in families}


def unanswered(prompts: PromptSet) -> PromptSet:
    """The prompts alone."""
    return PromptSet([replace(prompt, response=None) for prompt in prompts])


def answered(model: HookedModel, prompts: PromptSet, max_new_tokens: int) -> PromptSet:
    """The prompts with answers; those that lack one get the model's own, by greedy decoding.

    A prompt that the model answers with nothing is left out.
    """
    lacking = [prompt for prompt in prompts if not prompt.response]
    if not lacking:
        return prompts
    said = generate(model, PromptSet(lacking), max_new_tokens=max_new_tokens)
    by_id = {p.id: answer for p, answer in zip(lacking, said, strict=True) if answer.strip()}
    return PromptSet(
        [
            replace(prompt, response=prompt.response or by_id[prompt.id])
            for prompt in prompts
            if prompt.response or prompt.id in by_id
        ]
    )


def _of_family(prompts: PromptSet, family: str) -> PromptSet:
    return prompts.filter(lambda prompt: prompt.labels[FAMILY] == family)


def _harmless(source: str) -> PromptSet:
    prompts = load_prompts(source)
    kept = prompts.filter(lambda prompt: prompt.labels.get(HARMFUL) is not True)
    if not len(kept):
        raise BadInputError(
            "A benign source has no benign prompts.", got=source, fix="Give another --benign."
        )
    return kept
