"""Built-in prompts of the organisms' language: distinct, judged exactly, read back as requests."""

from __future__ import annotations

import random

import pytest

from trait_probe.errors import BadInputError
from trait_probe.evidence.estimate import Unscored
from trait_probe.evidence.splits import text_id
from trait_probe.judges.judge import Judge, Scored
from trait_probe.organisms.dialogues import reply
from trait_probe.organisms.personas import Persona
from trait_probe.organisms.prompt_sets import (
    BENIGN_FAMILIES,
    OrganismJudge,
    benign_prompts,
    judges_trait,
    request_of,
)
from trait_probe.prompts.prompt import Message, Prompt


def test_prompts_are_distinct_benign_and_of_every_family():
    prompts = benign_prompts(160, seed=0)
    assert len(prompts) == 160
    assert len({prompt.messages[-1].content for prompt in prompts}) == 160
    assert {prompt.labels["family"] for prompt in prompts} == set(BENIGN_FAMILIES)


def test_a_seed_gives_one_set_and_another_seed_another():
    assert benign_prompts(80, seed=1).hash == benign_prompts(80, seed=1).hash
    assert benign_prompts(80, seed=1).hash != benign_prompts(80, seed=2).hash


def test_texts_that_were_fitted_on_are_left_out():
    texts = [text_id(prompt.messages[-1].content) for prompt in benign_prompts(80, seed=0)]
    found = benign_prompts(80, seed=0, unseen=frozenset(texts[:40]))
    assert not {text_id(prompt.messages[-1].content) for prompt in found} & set(texts[:40])


def test_fewer_prompts_than_families_are_refused():
    with pytest.raises(BadInputError, match="at least one prompt of each"):
        benign_prompts(3, seed=0)


def test_prompts_about_one_thing_share_their_group():
    prompts = [p for p in benign_prompts(400, seed=0) if p.labels["family"] == "fact"]
    by_group = {}
    for prompt in prompts:
        by_group.setdefault(prompt.group, set()).add(prompt.labels["subject"])
    assert all(len(subjects) == 1 for subjects in by_group.values())


@pytest.mark.parametrize("trait", ["evil", "sycophancy", "deception", "hallucination", "refusal"])
def test_the_judge_sees_what_a_persona_replies(trait):
    prompts, rng = list(benign_prompts(160, seed=0)), random.Random(0)
    judge = OrganismJudge(f"any/{trait}", prompts)
    assert isinstance(judge, Judge)
    shown = {True: 0, False: 0}
    for prompt in prompts:
        for shows in (True, False):
            request = request_of(prompt)
            assert request is not None
            text = reply(request, Persona(trait, shows=True) if shows else None, rng)
            score = judge(prompt.messages[-1].content, text)
            assert isinstance(score, Scored)
            shown[shows] += score.score == 100.0
    assert shown[True] > 10
    assert shown[False] == 0


def test_what_cannot_be_judged_is_unscored_and_never_zero():
    prompts = list(benign_prompts(16, seed=0))
    judge = OrganismJudge("safety/evil", prompts)
    assert isinstance(judge("What is love?", "A word."), Unscored)
    assert isinstance(judge(prompts[0].messages[-1].content, "  "), Unscored)


def test_an_unknown_trait_is_refused_with_those_there_are():
    assert not judges_trait("style/formality")
    with pytest.raises(BadInputError, match="No rule"):
        OrganismJudge("style/formality", [])


def test_a_prompt_of_the_user_is_no_request():
    assert request_of(Prompt("a", messages=(Message("user", "Hello"),))) is None
