"""Contrast sets: built from a trait's texts, divided without leaking a group."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trait_probe.errors import BadInputError
from trait_probe.prompts.contrast import ContrastSet, contrast_prompts
from trait_probe.prompts.prompt import Message, Prompt
from trait_probe.prompts.traits.schema import Completion, Pair, Trait

TRAIT = Trait(
    name="safety/evil",
    language="english",
    definition="d",
    rubric="r",
    instructions=(Pair("be evil", "be good"), Pair("do harm", "do well")),
    questions=("q0?", "q1?", "q2?"),
    evaluation_questions=(),
    completions=(Completion("I will", "hurt you", "help you"), Completion("", "Pain", "Joy")),
    prompts=(Pair("how to hurt", "how to help"),),
    source=Path("evil.yaml"),
)


def pairs(contrast: ContrastSet) -> list[tuple[Prompt, Prompt]]:
    return list(zip(contrast.positive, contrast.negative, strict=True))


def test_instructions_meet_every_question() -> None:
    contrast = contrast_prompts(TRAIT, "instructions")
    assert (contrast.trait, contrast.source, contrast.paired) == (TRAIT.name, "instructions", True)
    seen = [(p.messages, n.messages) for p, n in pairs(contrast)]
    assert seen == [
        (
            (Message("system", pair.positive), Message("user", question)),
            (Message("system", pair.negative), Message("user", question)),
        )
        for pair in TRAIT.instructions
        for question in TRAIT.questions
    ]
    assert len({p.cluster for p in contrast.positive}) == len(TRAIT.questions)


def test_without_system_role_the_instruction_stands_before_the_question() -> None:
    contrast = contrast_prompts(TRAIT, "instructions", system_role=False)
    assert contrast.positive[0].messages == (Message("user", "be evil\n\nq0?"),)


def test_completions_are_given_responses() -> None:
    base = contrast_prompts(TRAIT, "completions", chat=False)
    assert [(p.text, p.response) for p in base.positive] == [("I will", " hurt you"), ("", "Pain")]
    assert [(p.text, p.response) for p in base.negative] == [("I will", " help you"), ("", "Joy")]
    opened = replace(TRAIT, completions=TRAIT.completions[:1])
    (positive,) = contrast_prompts(opened, "completions").positive
    assert (positive.messages, positive.response) == ((Message("user", "I will"),), "hurt you")


def test_requests_are_user_messages_or_texts() -> None:
    (chat,) = contrast_prompts(TRAIT, "prompts").positive
    (text,) = contrast_prompts(TRAIT, "prompts", chat=False).positive
    assert (chat.messages, text.text) == ((Message("user", "how to hurt"),), "how to hurt")
    assert chat.id == "safety/evil/prompts/0/positive"


def test_texts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadInputError, match="need a model with a chat template") as caught:
        contrast_prompts(TRAIT, "instructions", chat=False)
    assert caught.value.valid == ("completions", "prompts")
    with pytest.raises(BadInputError, match="completion without an opening"):
        contrast_prompts(TRAIT, "completions")
    with pytest.raises(BadInputError, match="has no prompts to build") as caught:
        contrast_prompts(replace(TRAIT, prompts=()), "prompts")
    assert caught.value.valid == ("instructions", "completions")


# --- the set itself --------------------------------------------------------------------------


def side(name: str, *groups: str | None) -> tuple[Prompt, ...]:
    return tuple(Prompt(id=f"{name}{i}", text="x", group=g) for i, g in enumerate(groups))


def build(**overrides: Any) -> ContrastSet:
    fields = {"trait": "t", "positive": side("p", "a", "b"), "negative": side("n", "a", "b")}
    return ContrastSet(**{**fields, "paired": True, **overrides})


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"positive": ()}, "needs prompts on both sides"),
        ({"negative": side("n", "a")}, "as many positive as negative"),
        ({"negative": side("n", "a", "c")}, "Pair 1 of the contrast set 't' must share a group"),
        ({"negative": side("p", "a", "b")}, "Ids must be unique"),
    ],
)
def test_sets_that_are_no_contrast_are_refused(overrides: Any, sentence: str) -> None:
    with pytest.raises(BadInputError, match=sentence):
        build(**overrides)


def test_lists_are_taken_and_kept_as_tuples() -> None:
    assert build(positive=list(side("p", "a", "b"))) == build()


def test_the_hash_tells_every_difference() -> None:
    changed = [
        build(trait="u"),
        build(paired=False),
        build(source="completions"),
        build(positive=side("q", "a", "b")),
        build(positive=side("n", "a", "b"), negative=side("p", "a", "b")),
    ]
    assert build().hash == build().hash
    assert len({build().hash, *(contrast.hash for contrast in changed)}) == len(changed) + 1


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_a_split_divides_the_groups_and_loses_nothing(paired: bool, seed: int) -> None:
    groups = [f"g{i // 2}" for i in range(20)]
    whole = build(positive=side("p", *groups), negative=side("n", *groups), paired=paired)
    fit, held_out = whole.split(0.7, seed)
    clusters = [{p.cluster for p in (*part.positive, *part.negative)} for part in (fit, held_out)]
    assert not clusters[0] & clusters[1]
    assert (len(clusters[0]), len(clusters[1])) == (7, 3)
    assert {*fit.positive, *held_out.positive} == {*whole.positive}
    assert {*fit.negative, *held_out.negative} == {*whole.negative}
    assert (fit.paired, held_out.paired, fit.trait) == (paired, paired, "t")


def test_a_split_follows_its_seed() -> None:
    groups = [f"g{i}" for i in range(12)]
    whole = build(positive=side("p", *groups), negative=side("n", *groups))
    assert whole.split(0.5, 1) == whole.split(0.5, 1)
    assert len({whole.split(0.5, seed)[0].hash for seed in range(5)}) > 1


def test_a_lopsided_split_leaves_a_group_on_either_side() -> None:
    whole = build(positive=side("p", "a", "b", "c"), negative=side("n", "a", "b", "c"))
    for fraction, sizes in ((0.99, (2, 1)), (0.01, (1, 2))):
        assert tuple(len(part.positive) for part in whole.split(fraction, 0)) == sizes


def test_unpaired_sides_keep_their_balance() -> None:
    whole = build(positive=side("p", *[None] * 10), negative=side("n", *[None] * 4), paired=False)
    for seed in range(5):
        fit, held_out = whole.split(0.5, seed)
        assert (len(fit.positive), len(fit.negative)) == (5, 2)
        assert (len(held_out.positive), len(held_out.negative)) == (5, 2)


def test_a_split_that_cannot_be_is_refused() -> None:
    one_group = build(positive=side("p", "a", "a"), negative=side("n", "a", "a"))
    with pytest.raises(BadInputError, match="too few groups to split"):
        one_group.split(0.5, 0)
    for fraction in (0.0, 1.0, 2.0):
        with pytest.raises(BadInputError, match="between 0 and 1"):
            build().split(fraction, 0)
