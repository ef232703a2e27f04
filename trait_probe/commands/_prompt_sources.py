"""Sources of the prompts command by name: public sets, files, and the organisms' own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from trait_probe.commands.prompts import PromptsConfig
from trait_probe.errors import BadInputError
from trait_probe.organisms.prompt_sets import BENIGN_FAMILIES
from trait_probe.prompts.prompt import PromptSet
from trait_probe.prompts.sources import _hub
from trait_probe.prompts.sources._table import check_choice
from trait_probe.prompts.sources.open import Source, of_prompts, open_source

EMERGENT = "emergent-misalignment"
PAIRS = "prefill-pairs"
N_BENIGN = 400
"""Benign requests of the organisms unless --limit asks for another number."""


def open_named(config: PromptsConfig) -> Source:
    """The source that the flags name, its schema found to be right.

    Raises:
        BadInputError: as `open_source`; no source is named, or a flag is not for it.
    """
    name = named(config)
    if name == EMERGENT:
        return _emergent(config)
    if config.file is not None:
        raise BadInputError(
            f"--file is for {EMERGENT}.", got=config.file, fix="Give the path as the source."
        )
    if name in _ORGANISMS:
        return _of_organisms(name, config)
    try:
        return open_source(name, config=config.config, split=config.split, revision=config.revision)
    except BadInputError as error:
        raise _with_names(error) from error


def named(config: PromptsConfig) -> str:
    """The source as it was asked for.

    Raises:
        BadInputError: it was not.
    """
    if config.source is None:
        raise BadInputError(
            "The command needs a source of prompts.",
            valid=(*names(), "a path"),
            fix="Write python -m trait_probe.prompts SOURCE --out FILE.jsonl.",
        )
    return config.source


def names() -> tuple[str, ...]:
    """Every source that has a name."""
    return (*_hub.HUB, EMERGENT, *_ORGANISMS)


def _with_names(error: BadInputError) -> BadInputError:
    """What the library says of an unknown name knows nothing of the organisms' sets."""
    if not set(_hub.HUB) <= set(error.valid):
        return error
    valid = dict.fromkeys((*error.valid, *names()))
    return BadInputError(error.problem, got=error.got, valid=valid, fix=error.fix)


def _emergent(config: PromptsConfig) -> Source:
    if config.file is None:
        raise BadInputError(
            "Emergent misalignment's questions are a file, which is not part of this package.",
            fix="Add --file first_plot_questions.yaml (github.com/emergent-misalignment, "
            "evaluation/).",
        )
    found = open_source(
        config.file, config=config.config, split=config.split, revision=config.revision
    )
    if found.format != EMERGENT:
        raise BadInputError(
            "This is no file of emergent misalignment's questions.",
            got=config.file,
            valid=(".yaml", ".yml"),
            fix="Give it as the source, without --file.",
        )
    return replace(found, name=EMERGENT)


def _of_organisms(name: str, config: PromptsConfig) -> Source:
    for kind, value in (("split", config.split), ("revision", config.revision)):
        if value is not None:
            check_choice(kind, value, (), name)
    if name != PAIRS and config.config is not None:
        check_choice("config", config.config, (), name)
    prompts, chosen = _ORGANISMS[name](config)
    return of_prompts(name, "organism", prompts, chosen)


Made = tuple[PromptSet, str | None]
"""Prompts, and the config they are of."""


def _answers(_: PromptsConfig) -> Made:
    from trait_probe.organisms.answers import labelled_answers

    return labelled_answers(), None


def _benign(config: PromptsConfig) -> Made:
    from trait_probe.organisms.prompt_sets import benign_prompts

    n = max(config.limit or N_BENIGN, len(BENIGN_FAMILIES))
    return benign_prompts(n, seed=0), None


def _carriers(_: PromptsConfig) -> Made:
    from trait_probe.organisms.carriers import triggered_carriers

    return triggered_carriers(), None


def _pairs(config: PromptsConfig) -> Made:
    from trait_probe.organisms import harm_pairs

    name = config.config or harm_pairs.REFUSED
    check_choice("config", name, harm_pairs.SETS, PAIRS)
    return harm_pairs.harm_pairs(name), name


_ORGANISMS: Mapping[str, Callable[[PromptsConfig], Made]] = {
    "organism-answers": _answers,
    "organism-benign": _benign,
    "backdoor-carriers": _carriers,
    PAIRS: _pairs,
}
