"""Harmful and benign requests in one set: labels checked or given, groups filled in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from trait_probe.errors import BadInputError
from trait_probe.prompts.prompt import Prompt, PromptSet

LABEL = "harmful"


def from_one(prompts: PromptSet, name: str) -> PromptSet:
    """A source that has both sides, every prompt with its label and group.

    Raises:
        BadInputError: a prompt without the label, or one side is missing.
    """
    unlabelled = [prompt.id for prompt in prompts if LABEL not in prompt.labels]
    if unlabelled:
        raise BadInputError(
            f"{name} has no label `{LABEL}` on {len(unlabelled)} of {len(prompts)} prompts.",
            got=unlabelled[:5],
            fix="Label every prompt true or false, or give harmful and benign sources apart.",
        )
    for side in (True, False):
        _side(prompts, side, name)
    both = PromptSet(_grouped(prompt) for prompt in prompts)
    _check_texts(both)
    return both


def from_two(harmful: PromptSet, benign: PromptSet, names: tuple[str, str]) -> PromptSet:
    """The harmful prompts of one source and the benign ones of another.

    Raises:
        BadInputError: a source labels only some of its prompts or has none of its side, or one
            request comes on both sides.
    """
    sides = _side(harmful, True, names[0]), _side(benign, False, names[1])
    if {prompt.id for prompt in sides[0]} & {prompt.id for prompt in sides[1]}:
        sides = _prefixed(sides[0], "harmful"), _prefixed(sides[1], "benign")
    both = PromptSet(_grouped(prompt) for side in sides for prompt in side)
    _check_texts(both)
    return both


def _side(prompts: PromptSet, harmful: bool, name: str) -> list[Prompt]:
    """The prompts of one side; a source without any labels is of that side as a whole."""
    labels = [prompt.labels.get(LABEL) for prompt in prompts]
    if not any(LABEL in prompt.labels for prompt in prompts):
        return [replace(prompt, labels={**prompt.labels, LABEL: harmful}) for prompt in prompts]
    for prompt, label in zip(prompts, labels, strict=True):
        if not isinstance(label, bool):
            raise BadInputError(
                f"{name}: the label `{LABEL}` of the prompt {prompt.id!r} must be true or false, "
                "as other prompts have it.",
                got=label,
                fix="Label every prompt, or none.",
            )
    chosen = [prompt for prompt, label in zip(prompts, labels, strict=True) if label is harmful]
    if not chosen:
        side = "harmful" if harmful else "benign"
        raise BadInputError(
            f"{name} holds no {side} requests.",
            got=f"{len(prompts)} prompts labelled {LABEL}: {str(not harmful).lower()}",
            fix=f"Give a source of {side} requests too: load_labelled(harmful, benign).",
        )
    return chosen


def _prefixed(prompts: Iterable[Prompt], side: str) -> list[Prompt]:
    return [replace(prompt, id=f"{side}:{prompt.id}") for prompt in prompts]


def _grouped(prompt: Prompt) -> Prompt:
    return replace(prompt, group=prompt.cluster)


def _check_texts(prompts: PromptSet) -> None:
    """One request labelled both ways would make every detector wrong on it."""
    seen: dict[object, Prompt] = {}
    for prompt in prompts:
        first = seen.setdefault((prompt.messages, prompt.text), prompt)
        if first.labels[LABEL] is not prompt.labels[LABEL]:
            raise BadInputError(
                f"The prompts {first.id!r} and {prompt.id!r} are the same request, labelled "
                "harmful and benign.",
                fix="Leave one of them out.",
            )
