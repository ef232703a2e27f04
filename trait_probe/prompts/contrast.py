"""Contrast sets: positive and negative prompts that differ in one trait."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from trait_probe.errors import BadInputError, nearest
from trait_probe.prompts._files import sha256
from trait_probe.prompts.prompt import Message, Prompt
from trait_probe.prompts.traits.schema import Trait

Source = Literal["instructions", "completions", "prompts"]
PairOfPrompts = tuple[Prompt, Prompt]


@dataclass(frozen=True)
class ContrastSet:
    """Positive and negative prompts of one trait.

    Args:
        trait: the trait's name.
        positive: prompts with the trait, at least one; kept as a tuple.
        negative: prompts without it, likewise; no id occurs twice in the whole set.
        paired: whether `positive[i]` and `negative[i]` belong together; they then share a group.
        source: what the contrast was made from.

    Raises:
        BadInputError: an empty side, a repeated id, or pairs that do not match.
    """

    trait: str
    positive: Sequence[Prompt]
    negative: Sequence[Prompt]
    paired: bool = False
    source: Source = "prompts"

    def __post_init__(self) -> None:
        object.__setattr__(self, "positive", tuple(self.positive))
        object.__setattr__(self, "negative", tuple(self.negative))
        if not self.positive or not self.negative:
            raise BadInputError(
                f"The contrast set {self.trait!r} needs prompts on both sides.",
                got=f"{len(self.positive)} positive, {len(self.negative)} negative",
            )
        _check_ids(self)
        if self.paired:
            _check_pairs(self)

    @property
    def hash(self) -> str:
        """SHA-256 (hex) over the trait's name, both sides in order, pairing and source."""
        sides = [[prompt.to_dict() for prompt in side] for side in (self.positive, self.negative)]
        return sha256([self.trait, *sides, self.paired, self.source])

    def split(self, fraction: float, seed: int) -> tuple[ContrastSet, ContrastSet]:
        """Divide into (fit, held_out); prompts of one group never end up on different sides.

        Groups are drawn without regard to their size, separately for groups that hold both sides,
        only positive or only negative prompts, so that each part keeps the balance.

        Args:
            fraction: share of the groups that goes to `fit`, between 0 and 1.
            seed: of the draw; the same seed gives the same split.

        Raises:
            BadInputError: fraction outside (0, 1), or too few groups for two prompts on each side.
        """
        if not 0 < fraction < 1:
            raise BadInputError("The fraction of a split lies between 0 and 1.", got=fraction)
        fit = _draw_groups(self, fraction, np.random.default_rng(seed))
        kept = _keep(self, fit, True), _keep(self, fit, False)
        if not all(side for part in kept for side in part):
            raise BadInputError(
                f"The contrast set {self.trait!r} has too few groups to split: each part needs "
                "positive and negative prompts.",
                got=f"{len(_groups(self))} groups",
                fix="Add prompts, or mark fewer of them as one group.",
            )
        first, second = (replace(self, positive=side[0], negative=side[1]) for side in kept)
        return first, second


def contrast_prompts(
    trait: Trait, source: Source, *, chat: bool = True, system_role: bool = True
) -> ContrastSet:
    """Build the paired contrast set that fits a model from a trait's texts.

    - `instructions`: each question asked under each pair of instructions (as system message, or in
      front of the user's message where the chat template has no system role); the answers are the
      model's to write. Pairs with the same question form a group.
    - `completions`: given continuations of an opening (or of two), as the response.
    - `prompts`: the contrast lies in the request itself.

    Args:
        trait: the trait's texts.
        source: which of them to use.
        chat: whether the model has a chat template; otherwise the prompts are plain texts.
        system_role: whether that template takes a system message.

    Raises:
        BadInputError: the trait has no such texts, or they do not fit the kind of model.
    """
    pairs = list(_pairs(trait, source, chat, system_role))
    if not pairs:
        raise BadInputError(
            f"The trait {trait.name!r} has no {source} to build a contrast set from.",
            got=source,
            valid=_sources(trait),
            fix="Choose a source that the trait file fills, or add the texts to the file.",
        )
    positive, negative = zip(*pairs, strict=True)
    return ContrastSet(trait.name, positive, negative, paired=True, source=source)


def _pairs(trait: Trait, source: Source, chat: bool, system_role: bool) -> Iterator[PairOfPrompts]:
    if source == "instructions":
        return _instruction_pairs(trait, chat, system_role)
    if source == "completions":
        return _completion_pairs(trait, chat)
    if source == "prompts":
        return _prompt_pairs(trait, chat)
    raise BadInputError(
        "Unknown source of a contrast set.", got=source, valid=nearest(source, get_args(Source))
    )


def _instruction_pairs(trait: Trait, chat: bool, system_role: bool) -> Iterator[PairOfPrompts]:
    if not chat:
        raise BadInputError(
            "Instructions need a model with a chat template.",
            got="instructions",
            valid=[name for name in _sources(trait) if name != "instructions"],
            fix="Choose another source for a base model.",
        )
    for i, instruction in enumerate(trait.instructions):
        for j, question in enumerate(trait.questions):
            turns = (
                _instructed(text, question, system_role)
                for text in (instruction.positive, instruction.negative)
            )
            positive, negative = (Prompt(id="-", messages=turn) for turn in turns)
            yield _named(positive, negative, f"{trait.name}/instructions/{i}-{j}", f"question-{j}")


def _instructed(instruction: str, question: str, system_role: bool) -> tuple[Message, ...]:
    if system_role:
        return Message("system", instruction), Message("user", question)
    return (Message("user", f"{instruction}\n\n{question}"),)


def _completion_pairs(trait: Trait, chat: bool) -> Iterator[PairOfPrompts]:
    for i, item in enumerate(trait.completions):
        build = _chat_completion if chat else _text_completion
        positive = build(item.prompt, item.positive)
        negative = build(item.negative_prompt or item.prompt, item.negative)
        yield _named(positive, negative, f"{trait.name}/completions/{i}", f"completion-{i}")


def _chat_completion(opening: str, continuation: str) -> Prompt:
    if not opening:
        raise BadInputError(
            "A completion without an opening cannot be put to a chat model as a user message.",
            got=continuation,
            fix="Give the completion a prompt, or use it with a base model (chat=False).",
        )
    return Prompt(id="-", messages=(Message("user", opening),), response=continuation)


def _text_completion(opening: str, continuation: str) -> Prompt:
    # Trait files store texts without outer whitespace: the one space between is put here.
    response = f" {continuation}" if opening else continuation
    return Prompt(id="-", text=opening, response=response)


def _prompt_pairs(trait: Trait, chat: bool) -> Iterator[PairOfPrompts]:
    for i, item in enumerate(trait.prompts):
        positive, negative = (_request(text, chat) for text in (item.positive, item.negative))
        yield _named(positive, negative, f"{trait.name}/prompts/{i}", f"prompt-{i}")


def _request(text: str, chat: bool) -> Prompt:
    return Prompt(id="-", messages=(Message("user", text),)) if chat else Prompt(id="-", text=text)


def _named(positive: Prompt, negative: Prompt, name: str, group: str) -> PairOfPrompts:
    return (
        replace(positive, id=f"{name}/positive", group=group),
        replace(negative, id=f"{name}/negative", group=group),
    )


def _sources(trait: Trait) -> tuple[Source, ...]:
    return tuple(name for name in get_args(Source) if getattr(trait, name))


def _check_ids(contrast: ContrastSet) -> None:
    seen: set[str] = set()
    for prompt in (*contrast.positive, *contrast.negative):
        if prompt.id in seen:
            raise BadInputError(
                f"Ids must be unique in the contrast set {contrast.trait!r}, both sides together.",
                got=prompt.id,
                fix="Rename one of the two prompts; pairs are tied by 'group', not by id.",
            )
        seen.add(prompt.id)


def _check_pairs(contrast: ContrastSet) -> None:
    if len(contrast.positive) != len(contrast.negative):
        raise BadInputError(
            f"The paired contrast set {contrast.trait!r} needs as many positive as negative "
            "prompts.",
            got=f"{len(contrast.positive)} positive, {len(contrast.negative)} negative",
            fix="Complete the pairs, or give paired=False.",
        )
    for index, pair in enumerate(zip(contrast.positive, contrast.negative, strict=True)):
        if pair[0].cluster != pair[1].cluster:
            raise BadInputError(
                f"Pair {index} of the contrast set {contrast.trait!r} must share a group.",
                got=(pair[0].cluster, pair[1].cluster),
                fix="Give both prompts the same 'group', or give paired=False.",
            )


def _groups(contrast: ContrastSet) -> dict[str, str]:
    """Which sides each group has prompts on, as a word, in order of first appearance."""
    sides: dict[str, str] = {}
    for prompt in contrast.positive:
        sides[prompt.cluster] = "positive"
    for prompt in contrast.negative:
        sides[prompt.cluster] = "negative" if sides.get(prompt.cluster, "n")[0] == "n" else "both"
    return sides


def _draw_groups(
    contrast: ContrastSet, fraction: float, generator: np.random.Generator
) -> frozenset[str]:
    sides = _groups(contrast)
    drawn: list[str] = []
    for kind in ("both", "positive", "negative"):
        names = sorted(name for name, side in sides.items() if side == kind)
        # At least one group stays on either side where there are two.
        take = min(max(round(fraction * len(names)), 1), len(names) - 1) if names else 0
        drawn += [names[i] for i in generator.permutation(len(names))[:take]]
    return frozenset(drawn)


def _keep(
    contrast: ContrastSet, groups: frozenset[str], inside: bool
) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
    positive, negative = (
        tuple(prompt for prompt in side if (prompt.cluster in groups) == inside)
        for side in (contrast.positive, contrast.negative)
    )
    return positive, negative
